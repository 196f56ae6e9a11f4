"""Damages what gradscope reads back, in every way that comes to mind, and looks what its readers make of it.

`python -m tests.fuzzing --inputs 20000` makes so many inputs and counts what became of them; `--seed` makes others, and
`--only NUMBER` shows one of them. The same seed makes the same inputs.

`samples` records real runs, `damage` changes bytes, lines and values, `inputs` makes a damaged input of a sample,
`readers` are the ways in which gradscope reads it, and `guarded` runs them in a fork: within bounds of time and memory,
and under an audit hook that sees what is opened, written, started and executed.
"""
