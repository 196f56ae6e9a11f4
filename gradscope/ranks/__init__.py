"""Many processes, one run: which part of its folder is whose, who reports, and what the parts say together."""
