"""The spool: where records lie at the gateway until the control plane has them.

One segment file takes the frames of all sessions, so that one `fdatasync` commits them all. `segment` is the file,
`committer` the thread that syncs, `epoch` the recorder of one session's epoch, `spool` what holds them together, and
`shipper` what carries segments to the control plane. The format is `audit`'s.
"""
