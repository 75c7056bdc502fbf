"""The functions of Tidemill that every role may call."""

from __future__ import annotations

# Views call these with the rights of their reader.
_OF_VIEWS = {"_application_name", "_keep_text", "_state"}
# These look at nothing but their arguments.
_COMPUTING = {
    "time_bucket",
    "first",
    "last",
    "histogram_quantile",
    "histogram_sum",
    "_added",
    "_bucket_instant",
    "_job_passes",
    "_is_fixed_width",
    "_is_whole_days",
    "_month_bucket",
    "_refuse_bucket_width",
}
OPEN_TO_ALL = _OF_VIEWS | _COMPUTING
