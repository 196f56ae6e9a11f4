"""Probes look closer than a column of norms can: on chosen rows or on a trigger they turn what they see into Facts.

One probe, one file, listed in PROBES of `gradscope/probes/catalogue.py`.
"""
