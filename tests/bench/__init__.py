"""How fast it is, beside a bare socket that does the same work: `python -m tests.bench` (see `--help`).

Each subject runs in a process of its own and measures itself; ours and the bare control take turns, so that whatever
else the machine does hits both. Figures are medians over the rounds, ratios are made round by round.

There are four sets: the usual, a server that is far away (`distance`), what grows (`growth`), and other workers, which
`peers` says how to have.
"""
