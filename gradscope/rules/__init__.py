"""The rules. One rule, one file: `gradscope/rules/<family>/<name_with_underscores>.py`; listed in `catalogue.py`."""
