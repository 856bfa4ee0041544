"""The steps on a job, one file each: submit, watch (poll), collect, reconcile, and hear (callbacks).

Each takes the lane, does its part of "write, then act, then write", and tells scheduler and feed what came of it. A step never starts another
step: what comes next is the scheduler's to say.
"""
