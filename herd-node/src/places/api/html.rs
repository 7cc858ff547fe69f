//! The few words of HTML that attributions are made of.

/// A link; `None` where the address is none that a reader should follow.
pub(super) fn link(uri: &str, text: &str) -> Option<String> {
    let is_web = uri.starts_with("https://") || uri.starts_with("http://");
    is_web.then(|| format!("<a href=\"{}\">{}</a>", escape(uri), escape(text)))
}

/// Text that stands for itself.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_a_link() {
        let expected = "<a href=\"https://h/&quot;&gt;\">&lt;b&gt; &amp; &#39;x&#39;</a>";
        assert_eq!(link("https://h/\">", "<b> & 'x'").as_deref(), Some(expected));
        assert_eq!(link("javascript:alert(1)", "x"), None);
    }
}
