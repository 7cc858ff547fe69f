//! Ids in CSV files, which people open with spreadsheets: those take a field that begins like a formula for
//! one, and ids are whatever strangers report. Such an id is exported behind an apostrophe, which an import takes
//! away again.

use std::borrow::Cow;

/// How a formula begins, and the apostrophe, so that every id comes back as it was.
const BEGINNINGS: [char; 5] = ['=', '+', '-', '@', '\''];

pub(super) fn guarded(id: &str) -> Cow<'_, str> {
    if id.starts_with(BEGINNINGS) { format!("'{id}").into() } else { id.into() }
}

pub(super) fn unguarded(field: &str) -> &str {
    field.strip_prefix('\'').filter(|id| id.starts_with(BEGINNINGS)).unwrap_or(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_begins_like_a_formula_and_each_comes_back() {
        for id in ["kiwi", "=1+1", "+49", "-x", "@SUM(A1)", "'", "'=", "''x", "a=b"] {
            let field = guarded(id);
            assert!(!field.starts_with(['=', '+', '-', '@']), "{field}");
            assert_eq!(unguarded(&field), id);
        }
        assert_eq!(unguarded("'tis"), "'tis");
    }
}
