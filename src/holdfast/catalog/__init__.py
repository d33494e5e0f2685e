"""The committed snapshots of a store: the one place that lists and removes them, and that finds what to resume from.

What a snapshot is, and whose, its header says; names and times of files decide nothing.
"""

from holdfast.catalog.catalog import Catalog
from holdfast.catalog.collection import Collection
from holdfast.catalog.listing import Listing
from holdfast.catalog.templates import ERROR_SUFFIX, same_template, template_pattern

__all__ = ["ERROR_SUFFIX", "Catalog", "Collection", "Listing", "same_template", "template_pattern"]
