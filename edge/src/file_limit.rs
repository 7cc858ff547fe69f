use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets the process open as many files as the system allows it, instead of the 1,024 that a shell
/// hands out for the sake of programs that use `select`. Returns how many that are; `None` for no
/// limit.
///
/// A connection is a file: limits of connections mean little below this one.
pub fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}
