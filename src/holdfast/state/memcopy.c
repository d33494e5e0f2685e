/* Copies between pieces of main memory that do not overlap.
 *
 * Large ones are stored past the caches ("non-temporal"): a line that is going to be overwritten whole need not be read
 * first, which is a third of what a copy asks of the memory bus, and what training has in the caches stays there. The C
 * library does so too, but only for copies so large that the leaves of a state never are. memcopy.py loads this. */

#define _GNU_SOURCE

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#if defined(__linux__)
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

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

/* Large ones, a piece at a time, by the calling thread and by helpers: threads of the system's that know nothing of
 * Python, so that none of them ever waits for the interpreter's lock. They are started when they are first needed, and
 * sleep as long as the process lives. */

enum { PIECE = 256 << 10, HELPERS = 16, PATIENCE_NS = 2000000, STACK = 256 << 10 };

struct rows {
    char *const *to;
    const char *const *from;
    const uint64_t *sizes;
    size_t count;
    size_t row; /* where the next piece begins: in this row */
    size_t at;  /* so many bytes into it */
};

static struct {
    pthread_mutex_t turn;  /* held by the one who moves with helpers */
    pthread_mutex_t guard; /* of everything below */
    pthread_cond_t called; /* calls has changed */
    pthread_cond_t done;   /* busy is 0 */
    int helpers;           /* threads that there are */
    pthread_t threads[HELPERS];
    int apart;             /* so many of them do not run on this processor: */
    int apart_from;
    int waiting;           /* of these, awake and looking for work */
    unsigned calls;        /* how often they were called up */
    struct rows *rows;     /* what is to be moved */
    atomic_int has_work;   /* the same, for a look without the guard */
    atomic_int busy;       /* helpers at work on a piece */
} pool = {.turn = PTHREAD_MUTEX_INITIALIZER,
          .guard = PTHREAD_MUTEX_INITIALIZER,
          .called = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* With the guard held: move piece after piece, until every one has been begun. */
static void work(struct rows *rows, int is_helper)
{
    for (;;) {
        while (rows->row < rows->count && rows->at == rows->sizes[rows->row])
            rows->row++, rows->at = 0;
        if (rows->row == rows->count) {
            pool.rows = NULL;
            pool.has_work = 0;
            return;
        }
        size_t left = rows->sizes[rows->row] - rows->at, size = left < PIECE ? left : PIECE;
        char *to = rows->to[rows->row] + rows->at;
        const char *from = rows->from[rows->row] + rows->at;
        rows->at += size;
        pool.busy += is_helper;
        pthread_mutex_unlock(&pool.guard);
        holdfast_stream(to, from, size);
        pthread_mutex_lock(&pool.guard);
        if (is_helper && --pool.busy == 0)
            pthread_cond_signal(&pool.done);
    }
}

#if defined(__linux__)
/* A name, and a short slice: the system lets such a thread begin at once where another is only spinning, as those of
 * OpenMP do for milliseconds after each operation of torch's. Kernels before 6.12 pay no heed to it. */
static void begin_helper(void)
{
    prctl(PR_SET_NAME, "holdfast-copy");
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {.size = sizeof attributes};
    if (!syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0)) {
        attributes.runtime = 1300000; /* a little less than the shortest that others have by themselves */
        syscall(SYS_sched_setattr, 0, &attributes, 0);
    }
}

/* With the guard held: keep the helpers off the caller's processor, where they would only take its time. */
static void stand_aside(void)
{
    int here = sched_getcpu();
    cpu_set_t others;
    if (here != pool.apart_from)
        pool.apart_from = here, pool.apart = 0;
    if (pool.apart >= pool.helpers || sched_getaffinity(0, sizeof others, &others))
        return;
    CPU_CLR(here, &others);
    for (; pool.apart < pool.helpers; pool.apart++)
        pthread_setaffinity_np(pool.threads[pool.apart], sizeof others, &others);
}
#else
static void begin_helper(void) {}

static void stand_aside(void) {}
#endif

static void *help(void *unused)
{
    begin_helper();
    pthread_mutex_lock(&pool.guard);
    for (unsigned seen = 0;;) { /* calls is not 0 when the first thread starts */
        while (seen == pool.calls)
            pthread_cond_wait(&pool.called, &pool.guard);
        seen = pool.calls;
        pool.waiting++;
        pthread_mutex_unlock(&pool.guard);
        for (int64_t end = now_ns() + PATIENCE_NS; !pool.has_work && now_ns() < end;)
            ; /* asking for the time is pause enough */
        pthread_mutex_lock(&pool.guard);
        pool.waiting--;
        if (pool.rows)
            work(pool.rows, 1);
    }
    return unused;
}

/* With the guard held: wake so many helpers; those that are missing are started, if that can be. */
static void call_up(int helpers)
{
    if (helpers > HELPERS)
        helpers = HELPERS;
    if (pool.waiting >= helpers)
        return;
    stand_aside();
    pool.calls += 1 + (pool.calls + 1 == 0);
    if (pool.helpers < helpers) {
        sigset_t all, before;
        pthread_attr_t attributes;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for Python's threads */
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, STACK);
        while (pool.helpers < helpers && !pthread_create(&pool.threads[pool.helpers], &attributes, help, NULL))
            pool.helpers++;
        pthread_attr_destroy(&attributes);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        stand_aside();
    }
    pthread_cond_broadcast(&pool.called);
}

/* In a forked child: the helpers live on in the parent only, and whatever was held is free. */
static void forget(void)
{
    pthread_mutex_init(&pool.turn, NULL);
    pthread_mutex_init(&pool.guard, NULL);
    pthread_cond_init(&pool.called, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.helpers = pool.waiting = pool.apart = 0;
    pool.rows = NULL;
    pool.has_work = pool.busy = 0;
}

__attribute__((constructor)) static void begin(void) { pthread_atfork(NULL, NULL, forget); }

/* There will soon be something to move: helpers that are awake by then begin at once. They wait for PATIENCE_NS. */
void holdfast_call_up(int helpers)
{
    pthread_mutex_lock(&pool.guard);
    call_up(helpers);
    pthread_mutex_unlock(&pool.guard);
}

/* Copy every row, with at most so many helpers; all is done on return. While another thread does the same, that one has
 * the helpers. */
void holdfast_move(char *const *to, const char *const *from, const uint64_t *sizes, size_t count, int helpers)
{
    if (helpers < 1 || pthread_mutex_trylock(&pool.turn)) {
        for (size_t at = 0; at < count; at++)
            holdfast_stream(to[at], from[at], sizes[at]);
        return;
    }
    struct rows rows = {to, from, sizes, count, 0, 0};
    pthread_mutex_lock(&pool.guard);
    pool.rows = &rows;
    pool.has_work = 1;
    call_up(helpers);
    work(&rows, 0);
    pthread_mutex_unlock(&pool.guard);
    for (int64_t end = now_ns() + PATIENCE_NS / 8; pool.busy && now_ns() < end;)
        ; /* the last pieces take less time than falling asleep */
    pthread_mutex_lock(&pool.guard);
    while (pool.busy)
        pthread_cond_wait(&pool.done, &pool.guard);
    pthread_mutex_unlock(&pool.guard);
    pthread_mutex_unlock(&pool.turn);
}
