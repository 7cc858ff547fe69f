use std::ops::Range;
use std::sync::Arc;

use herd_proto::{Position, v1};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::classic;
use super::fault::Fault;

/// One answer in the form of Nearby Search (legacy), which can be cut to fewer results.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Page {
    status: String,
    notes: Notes,
    body: Body,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    /// A provider's text, with marks where it can be cut. It is never parsed and written again:
    /// numbers, order of keys and layout stay the provider's.
    Told {
        text: String,
        /// Where each result stands in `text`.
        results: Vec<Range<usize>>,
        /// What stands between the brackets of the list of results.
        list: Range<usize>,
        /// One for each result.
        places: Vec<v1::Place>,
    },
    /// An answer of our own, joined when it is known how much of it is wanted.
    Own {
        /// What stands before the results.
        head: String,
        entries: Vec<Arc<Entry>>,
        center: Position,
    },
}

/// What an answer says beside its results.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Notes {
    /// HTML that must be shown with the results: whose they are.
    pub(super) attributions: Vec<String>,
    /// What the reader should know about the answer.
    pub(super) info_messages: Vec<String>,
}

/// A result of our own, written once for all answers in which it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    text: String,
    /// Its distance is that from nowhere.
    place: v1::Place,
}

impl Entry {
    /// Writes `result`, an object of Nearby Search (legacy).
    pub(super) fn new(result: &Value) -> Self {
        let place = read_place(result, Position::default());
        Self { text: classic::write(result, 2), place }
    }

    fn place(&self, center: Position) -> v1::Place {
        let at = self.place.position.as_ref();
        let at = at.and_then(|at| Position::from_degrees(at.latitude, at.longitude).ok());
        let distance_meters = at.map_or(0.0, |at| center.distance_meters(at));
        v1::Place { distance_meters, ..self.place.clone() }
    }
}

impl Page {
    /// Reads a provider's answer.
    ///
    /// Only what an answer cannot do without is asked for: an object with a status and, where
    /// that is OK, a list of results. A result may lack anything.
    pub(super) fn read(body: Vec<u8>, center: Position) -> Result<Self, Fault> {
        let text = String::from_utf8(body).map_err(|_| Fault::Malformed)?;
        let text = squeeze_newlines(text);
        let envelope: Envelope<'_> = serde_json::from_str(&text).map_err(|_| Fault::Malformed)?;
        let raw: Vec<&RawValue> = match envelope.results {
            Some(list) => serde_json::from_str(list.get()).map_err(|_| Fault::Malformed)?,
            None if envelope.status == "OK" => return Err(Fault::Malformed),
            None => Vec::new(),
        };
        let place_of = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
        let range_of = |part: &str| place_of(part)..place_of(part) + part.len();
        let list = envelope.results.map_or(0..0, |list| {
            let brackets = range_of(list.get());
            brackets.start + 1..brackets.end - 1
        });
        let results = raw.iter().map(|result| range_of(result.get())).collect();
        let place = |result: &&RawValue| serde_json::from_str(result.get()).unwrap_or(Value::Null);
        let places = raw.iter().map(|result| read_place(&place(result), center)).collect();
        let notes = Notes {
            attributions: read_texts(envelope.html_attributions),
            info_messages: read_texts(envelope.info_messages),
        };
        let status = envelope.status;
        Ok(Self { status, notes, body: Body::Told { text, results, list, places } })
    }

    /// Writes an answer of our own, in the [`classic`] layout. `results` are objects of Nearby
    /// Search (legacy); none at all is ZERO_RESULTS.
    pub(super) fn compose(notes: Notes, results: &[Value], center: Position) -> Self {
        let entries = results.iter().map(|result| Arc::new(Entry::new(result))).collect();
        Self::assemble(notes, entries, center)
    }

    /// The same, of results that are written already.
    pub(super) fn assemble(notes: Notes, entries: Vec<Arc<Entry>>, center: Position) -> Self {
        let status = if entries.is_empty() { "ZERO_RESULTS" } else { "OK" };
        let head = head(None, &notes);
        Self { status: status.into(), notes, body: Body::Own { head, entries, center } }
    }

    /// Writes the answer of a provider that turns the question down, in Google's words.
    pub(super) fn refusal(status: &str, message: &str) -> Self {
        let (notes, entries, center) = (Notes::default(), Vec::new(), Position::default());
        let head = head(Some(message), &notes);
        Self { status: status.into(), notes, body: Body::Own { head, entries, center } }
    }

    /// The outcome in Google's words.
    pub(super) fn status(&self) -> &str {
        &self.status
    }

    /// Whether there is at least one result.
    pub(super) fn has_results(&self) -> bool {
        match &self.body {
            Body::Told { results, .. } => !results.is_empty(),
            Body::Own { entries, .. } => !entries.is_empty(),
        }
    }

    /// What it says beside its results.
    pub(super) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// How many bytes it takes, about.
    pub(super) fn weight(&self) -> usize {
        let text = match &self.body {
            Body::Told { text, .. } => text.len(),
            Body::Own { head, entries, .. } => {
                head.len() + entries.iter().map(|entry| entry.text.len()).sum::<usize>()
            }
        };
        // The typed list says less than the text does.
        2 * text + size_of::<Self>()
    }

    /// The first `count` places.
    pub(super) fn places(&self, count: usize) -> Vec<v1::Place> {
        match &self.body {
            Body::Told { places, .. } => places.iter().take(count).cloned().collect(),
            Body::Own { entries, center, .. } => {
                entries.iter().take(count).map(|entry| entry.place(*center)).collect()
            }
        }
    }

    /// The text with the first `count` results; of a provider's, all other bytes are kept, and
    /// with nothing to cut it is the text as it came.
    pub(super) fn text(&self, count: usize) -> String {
        let (text, results, list) = match &self.body {
            Body::Told { text, results, list, .. } => (text, results, list),
            Body::Own { head, entries, .. } => {
                return own_text(head, &entries[..count.min(entries.len())], &self.status);
            }
        };
        let (Some(final_one), Some(first_cut)) = (results.last(), results.get(count)) else {
            return text.clone();
        };
        let Some(kept) = results[..count].last() else { return without_results(text, list) };
        debug_assert!(kept.end <= first_cut.start, "a kept result must not be cut");
        [&text[..kept.end], &text[final_one.end..]].concat()
    }
}

/// The text with an empty list. In Google's later layout a list begins on a line of its own, and
/// an empty one does not.
fn without_results(text: &str, list: &Range<usize>) -> String {
    let before = &text[..list.start - 1];
    let name = before.trim_end();
    let gap = before[name.len()..].split('\n').next().unwrap_or_default();
    [name, gap, "[", &text[list.end..]].concat()
}

/// What stands before the results of an answer of our own.
fn head(error_message: Option<&str>, notes: &Notes) -> String {
    let mut text = String::from("{\n");
    let mut member = |key: &str, value: Value| {
        text.extend(["   \"", key, "\" : ", &classic::write(&value, 1), ",\n"]);
    };
    if let Some(message) = error_message {
        member("error_message", message.into());
    }
    member("html_attributions", notes.attributions.clone().into());
    if !notes.info_messages.is_empty() {
        member("info_messages", notes.info_messages.clone().into());
    }
    text
}

fn own_text(head: &str, entries: &[Arc<Entry>], status: &str) -> String {
    const BETWEEN: &str = ",\n      ";
    let results: usize = entries.iter().map(|entry| BETWEEN.len() + entry.text.len()).sum();
    let mut text = String::with_capacity(head.len() + results + 64);
    text.extend([head, "   \"results\" : ["]);
    for (number, entry) in entries.iter().enumerate() {
        text.push_str(if number == 0 { "\n      " } else { BETWEEN });
        text.push_str(&entry.text);
    }
    if !entries.is_empty() {
        text.push_str("\n   ");
    }
    text.extend(["],\n   \"status\" : ", &Value::from(status).to_string(), "\n}"]);
    text
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    html_attributions: Option<&'a RawValue>,
    #[serde(borrow)]
    info_messages: Option<&'a RawValue>,
    #[serde(borrow)]
    results: Option<&'a RawValue>,
    status: String,
}

/// A list of texts; whatever else stands there is passed on in the JSON, but not typed.
fn read_texts(list: Option<&RawValue>) -> Vec<String> {
    list.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default()
}

/// Makes runs of newlines one, and drops those at the end: the text protocol ends an answer
/// with an empty line, so none may stand inside. JSON strings hold no raw newlines.
fn squeeze_newlines(mut text: String) -> String {
    let mut before = '\0';
    text.retain(|character| {
        let repeated = character == '\n' && before == '\n';
        before = character;
        !repeated
    });
    text.truncate(text.trim_end_matches('\n').len());
    text
}

/// Reads what can be read of a result.
fn read_place(value: &Value, center: Position) -> v1::Place {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let location = &value["geometry"]["location"];
    let degrees = location["lat"].as_f64().zip(location["lng"].as_f64());
    let located = degrees.and_then(|(latitude, longitude)| {
        let position = Position::from_degrees(latitude, longitude).ok()?;
        Some((v1::Position { latitude, longitude }, center.distance_meters(position)))
    });
    let types = value["types"].as_array().map(Vec::as_slice).unwrap_or_default();
    v1::Place {
        place_id: text("place_id"),
        name: text("name"),
        position: located.map(|(position, _)| position),
        types: types.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        vicinity: text("vicinity"),
        distance_meters: located.map_or(0.0, |(_, distance)| distance),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn center() -> Position {
        Position::parse("+34.068930-118.445127").unwrap()
    }

    fn read(text: &str) -> Result<Page, Fault> {
        Page::read(text.into(), center())
    }

    /// Whether read or written, an answer is what it says.
    pub(in crate::places) fn assert_same(one: &Page, other: &Page) {
        let said = |page: &Page| (page.status().to_owned(), page.notes().clone());
        assert_eq!(said(one), said(other));
        for count in (0..4).chain([20, 99]) {
            assert_eq!(one.text(count), other.text(count));
            assert_eq!(one.places(count), other.places(count));
        }
    }

    #[test]
    fn newlines_are_squeezed_and_trimmed() {
        let page = read("\n\n{\n\n\n\"status\"\n:\"OK\",\n\n\"results\":[]}\n\n\n").unwrap();
        assert_eq!(page.text(20), "\n{\n\"status\"\n:\"OK\",\n\"results\":[]}");
    }

    #[test]
    fn a_text_that_is_no_answer_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            "<html></html>",
            "{\"status\":\"OK\"}",
            "{\"status\":\"OK\",\"results\":null}",
            "{\"status\":\"OK\",\"results\":{}}",
            "{\"status\":1,\"results\":[]}",
            "{\"results\":[]}",
            "{\"status\":\"OK\",\"results\":[]} x",
            "{\"status\":\"OK\",\"results\":[],\"results\":[1]}",
            "{\"status\":\"OK\",\"results\":[{\"rating\":NaN}]}",
            "{\"status\":\"OK\",\"results\":[{\"name\":\"a",
        ] {
            assert_eq!(read(text), Err(Fault::Malformed), "{text}");
        }
        let not_utf8 = b"{\"status\":\"OK\",\"results\":[\"\xff\"]}".to_vec();
        assert_eq!(Page::read(not_utf8, center()), Err(Fault::Malformed));
        let deep = format!("{{\"status\":\"OK\",\"results\":{}", "[".repeat(1_000_000));
        assert_eq!(read(&deep), Err(Fault::Malformed));
    }

    #[test]
    fn a_refusal_may_come_without_results() {
        let page = read("{\"status\":\"REQUEST_DENIED\"}").unwrap();
        assert_eq!((page.status(), page.places(20)), ("REQUEST_DENIED", Vec::new()));
        assert_eq!(page.text(0), "{\"status\":\"REQUEST_DENIED\"}");
    }

    #[test]
    fn what_a_result_lacks_is_left_out_of_the_typed_list() {
        let text = json!({"status": "OK", "results": [
            {"name": "Caf\u{e9}", "place_id": "p", "types": ["cafe", 7], "vicinity": "here",
             "geometry": {"location": {"lat": 34.068_93, "lng": -118.445_127}}},
            {"name": 5, "geometry": {"location": {"lat": 91, "lng": 0}}},
            7,
        ]});
        let page = read(&text.to_string()).unwrap();
        let [full, bare, odd] = &page.places(20)[..] else { panic!("{page:?}") };
        assert_eq!((&*full.name, &*full.place_id, &*full.vicinity), ("Café", "p", "here"));
        assert_eq!(full.types, ["cafe"]);
        assert!(full.position.is_some() && full.distance_meters < 0.1);
        assert_eq!((bare, odd), (&v1::Place::default(), &v1::Place::default()));
    }

    #[test]
    fn a_cut_keeps_the_bytes_of_what_stays() {
        let text = "{ \"results\" : [ {\"n\":1.50} ,\n {\"n\": [2]} , 3 ] , \"status\":\"OK\" }";
        let page = read(text).unwrap();
        assert_eq!(page.text(0), "{ \"results\" : [] , \"status\":\"OK\" }");
        assert_eq!(page.text(1), "{ \"results\" : [ {\"n\":1.50} ] , \"status\":\"OK\" }");
        let two = "{ \"results\" : [ {\"n\":1.50} ,\n {\"n\": [2]} ] , \"status\":\"OK\" }";
        assert_eq!(page.text(2), two);
        assert_eq!(page.text(3), text);
        assert_eq!(page.text(20), text);
    }

    #[test]
    fn our_own_answer_reads_back_and_is_cut_like_any_other() {
        let notes = || Notes {
            attributions: vec!["who \"wrote\" it".into()],
            info_messages: vec!["a note".into()],
        };
        let found = [json!({"name": "a"}), json!({})];
        let page = Page::compose(notes(), &found, center());
        assert_same(&read(&page.text(20)).unwrap(), &page);
        let value: Value = serde_json::from_str(&page.text(1)).unwrap();
        assert_eq!(classic::write(&value, 0), page.text(1));
        assert_eq!(value["results"], json!([{"name": "a"}]));
        let none = Page::compose(notes(), &[], center());
        assert_eq!(none.status(), "ZERO_RESULTS");
        assert!(none.text(20).contains("\"results\" : [],\n"));
        assert_eq!(page.text(0), none.text(0).replace("ZERO_RESULTS", "OK"));
    }

    #[test]
    fn a_refusal_of_our_own_is_laid_out_as_googles() {
        let page = Page::refusal("REQUEST_DENIED", "No.");
        let expected = "{\n   \"error_message\" : \"No.\",\n   \"html_attributions\" : [],\n   \
                        \"results\" : [],\n   \"status\" : \"REQUEST_DENIED\"\n}";
        assert_eq!(page.text(20), expected);
        assert_same(&read(expected).unwrap(), &page);
    }

    #[test]
    fn what_is_said_beside_the_results_is_read_where_it_is_text() {
        let text =
            json!({"html_attributions": ["x"], "info_messages": 5, "status": "ZERO_RESULTS"});
        let notes = Notes { attributions: vec!["x".into()], info_messages: Vec::new() };
        assert_eq!(read(&text.to_string()).unwrap().notes, notes);
    }

    proptest! {
        #[test]
        fn any_cut_of_any_layout_is_the_same_answer_with_fewer_results(
            names in prop::collection::vec("\\PC{0,12}", 0..25),
            count in 0_usize..25,
            layout in 0_u8..3,
        ) {
            let result = |name: &String| json!({"name": name, "x": [1.5, {}]});
            let answer = |names: &[String]| {
                let results: Vec<_> = names.iter().map(result).collect();
                json!({"a": "]", "results": results, "status": "OK", "z": [[]]})
            };
            let whole = answer(&names);
            let text = match layout {
                0 => whole.to_string(),
                1 => serde_json::to_string_pretty(&whole).unwrap(),
                _ => classic::write(&whole, 0),
            };
            let page = read(&text).unwrap();
            let cut = page.text(count);
            let value: Value = serde_json::from_str(&cut).unwrap();
            prop_assert_eq!(value, answer(&names[..count.min(names.len())]));
            prop_assert_eq!(page.places(count).len(), count.min(names.len()));
            if count >= names.len() {
                prop_assert_eq!(cut, text);
            }
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Page::read(body, center());
        }
    }
}
