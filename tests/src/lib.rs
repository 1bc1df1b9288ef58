//! The fleet tested end to end, from outside.
