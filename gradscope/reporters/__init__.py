"""Ways to tell a Report: terminal, JSON. They know findings and the record's meta data, never rules or hooks."""
