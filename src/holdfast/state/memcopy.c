/* Copies between pieces of main memory that do not overlap.
 *
 * Large ones are stored past the caches ("non-temporal"): a line that is going to be overwritten whole need not be read
 * first, which is a third of what a copy asks of the memory bus, and what training has in the caches stays there. The C
 * library does so too, but only for copies so large that the leaves of a state never are. memcopy.py loads this. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>

enum { LINE = 64, AHEAD = 2048 }; /* bytes: of a cache line; between what is asked for and what is copied */

void holdfast_stream(char *to, const char *from, size_t size)
{
    size_t head = -(uintptr_t)to % LINE;
    if (size < head + LINE) {
        memcpy(to, from, size);
        return;
    }
    memcpy(to, from, head);
    to += head, from += head, size -= head;
    for (; size >= LINE; to += LINE, from += LINE, size -= LINE) {
        _mm_prefetch(from + AHEAD, _MM_HINT_NTA); /* never faults, wherever it points */
        for (int at = 0; at < LINE; at += 16)
            _mm_stream_si128((__m128i *)(to + at), _mm_loadu_si128((const __m128i *)(from + at)));
    }
    memcpy(to, from, size);
    _mm_sfence(); /* other threads see the copy once they see that it is done */
}

static void ask(const char *from, size_t size)
{
    for (size_t at = 0; at < size && at < 4 * LINE; at += LINE)
        _mm_prefetch(from + at, _MM_HINT_NTA);
}

#else

void holdfast_stream(char *to, const char *from, size_t size) { memcpy(to, from, size); }

static void ask(const char *from, size_t size) { (void)from, (void)size; }

#endif

/* Many small ones. The next but one is asked for meanwhile: each begins where no hardware foresees it. */
void holdfast_copy_each(char *const *to, const char *const *from, const uint64_t *sizes, size_t count)
{
    for (size_t at = 0; at < count; at++) {
        if (at + 2 < count)
            ask(from[at + 2], sizes[at + 2]);
        memmove(to[at], from[at], sizes[at]);
    }
}
