//! Debian's dynamic userland does real work with right results.
