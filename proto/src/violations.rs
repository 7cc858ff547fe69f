use std::fmt;

/// Longest description, in bytes: what a caller gave is quoted in it and may be of any length.
const MAX_DESCRIPTION: usize = 200;

/// The rules that one request broke; never empty when returned as an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Violations(Vec<Violation>);

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field in the request, such as `position.latitude`.
    pub field: String,
    /// What the rule is and what was given.
    pub description: String,
}

impl Violations {
    /// One violation.
    pub fn one(field: &str, description: impl fmt::Display) -> Self {
        let mut violations = Self::default();
        violations.add(field, description);
        violations
    }

    /// Adds one more.
    pub fn add(&mut self, field: &str, description: impl fmt::Display) {
        let mut description = description.to_string();
        if description.len() > MAX_DESCRIPTION {
            description.truncate(description.floor_char_boundary(MAX_DESCRIPTION));
            description.push_str(" ...");
        }
        self.0.push(Violation { field: field.into(), description });
    }

    /// Keeps the value, or notes why there is none.
    pub fn check<T, E: fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error)).ok()
    }

    /// `value` if no rule was broken, else the violations.
    pub fn into_result<T>(self, value: Option<T>) -> Result<T, Self> {
        debug_assert!(value.is_some() || !self.0.is_empty(), "no value and no violation");
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }

    /// Whether no rule was broken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The violations, in the order of the fields.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<I: IntoIterator<Item = Violation>>(violations: I) -> Self {
        Self(violations.into_iter().collect())
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}
