"""Getting RefCOCO, RefCOCO+, RefCOCOg and their photographs from the network: resumed, checked, never half there."""

from ris_lib.data.download.fetch import DownloadError, fetch
from ris_lib.data.download.official import download_annotations, download_photographs
from ris_lib.data.download.photographs import fetch_photographs, needed_photographs
from ris_lib.data.download.sources import Source, source, sources
from ris_lib.data.download.unzip import unzip

__all__ = [
    "DownloadError",
    "Source",
    "download_annotations",
    "download_photographs",
    "fetch",
    "fetch_photographs",
    "needed_photographs",
    "source",
    "sources",
    "unzip",
]
