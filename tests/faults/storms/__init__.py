"""Storms: the same fault at every point where it could strike, or at very many. Each is a command; see its `--help`.

python -m tests.faults.storms.kills      kill -9 at random moments, with hundreds of requests in flight
python -m tests.faults.storms.syscalls   kill -9 at every durability syscall, and again during the recovery
python -m tests.faults.storms.errors     EIO and ENOSPC, once and for good, at every durability syscall
python -m tests.faults.storms.tails      the output cut at every byte, zeros and garbage after it
python -m tests.faults.storms.pages      the ledger flipped, zeroed and truncated
python -m tests.faults.storms.power      power cuts on a loop-mounted ext4
python -m tests.faults.storms.controls   the product is broken on purpose: a named test must fail each time
"""
