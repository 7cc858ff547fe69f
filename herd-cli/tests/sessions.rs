//! What a person types, and what comes back.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::eventually;
use support::processes::{Herd, herd_cli};

/// Longest that any command may take to end.
const LIMIT: Duration = Duration::from_secs(10);

fn herd() -> Herd {
    let mut herd = Herd::planned(&[]);
    herd.start_in_one_process();
    herd
}

fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn herd_run(herd: &Herd, args: &[&str]) -> Output {
    let mut command = herd.command();
    command.args(args);
    run(command)
}

fn alone(args: &[&str]) -> Output {
    let mut command = herd_cli();
    command.args(args);
    run(command)
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn ok(output: &Output) -> String {
    assert_eq!(code(output), Some(0), "{}", err(output));
    out(output)
}

#[track_caller]
fn json(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(value["schema"], "herd.cli/v1");
    value
}

/// Waits for the end of a process, and kills it where there is none.
#[track_caller]
fn end_of(mut child: Child) -> Output {
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn no_arguments_show_the_two_commonest_examples() {
    let shown = alone(&[]);
    assert_eq!(code(&shown), Some(2));
    assert!(err(&shown).contains("herd-cli up  "), "{}", err(&shown));
    assert!(err(&shown).contains("herd-cli report kiwi 34.07,-118.44"));
    assert_eq!(out(&shown), "");
}

#[test]
fn every_help_has_examples_and_fits_the_screen() {
    let full = ok(&alone(&["--help"]));
    for part in ["Examples:", "Exit codes:", "130  ended", "HERD_NODE", "HERD_FILE", "HERD_OUTPUT"]
    {
        assert!(full.contains(part), "{part}");
    }
    for command in ["up", "report", "whatsat", "get", "near", "watch", "status"] {
        assert!(full.contains(&format!("\n  {command} ")), "{command}");
        let help = ok(&alone(&[command, "--help"]));
        assert!(help.contains("Examples:\n  herd-cli "), "{help}");
        assert!(help.contains("HERD_TIMEOUT"), "{help}");
        let widest = help.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{command}: {widest:?}");
    }
}

#[test]
fn a_report_is_recorded_and_found() {
    let herd = herd();
    let time = ["--time", "1700000000.50"];
    let shown = ok(&herd_run(&herd, &[&["report", "kiwi", "+34.07-118.44"], &time[..]].concat()));
    assert!(shown.contains("kiwi +34.07-118.44 1700000000.50\n"), "{shown}");
    assert!(shown.contains("newest    yes"), "{shown}");

    let older = ok(&herd_run(&herd, &["report", "kiwi", "-1,-2", "--time", "5"]));
    assert!(older.contains("newest    no"), "{older}");

    // The other nodes know it soon.
    eventually(LIMIT, || {
        let got = herd_run(&herd, &["--node", "Clark", "get", "kiwi"]);
        if out(&got).contains("by Bailey") { Ok(()) } else { Err(got) }
    });
    let got = json(&ok(&herd_run(&herd, &["get", "kiwi", "-o", "json"])));
    assert_eq!(got["kind"], "location");
    assert_eq!(got["time"], "2023-11-14T22:13:20.500000000Z");
    assert_eq!(got["time_text"], "1700000000.50");
    assert_eq!(got["position"]["text"], "+34.07-118.44");
    assert_eq!(got["position"]["longitude"], -118.44);
    assert!(got["at"].as_str().unwrap().starts_with("AT Bailey +"));
}

#[test]
fn who_is_near_a_point_or_a_client_is_shown_nearest_first() {
    let herd = herd();
    for (id, at) in [("emu", "-33.87,151.21"), ("moa", "-33.88,151.21"), ("yak", "27.59,86.56")] {
        ok(&herd_run(&herd, &["report", id, at]));
    }
    let shown = ok(&herd_run(&herd, &["near", "33°52'12\"S 151°12'36\"E", "--max", "1"]));
    assert!(shown.contains("0 m       emu"), "{shown}");
    assert!(shown.contains("1 client near -33.87, 151.21; there are more"), "{shown}");
    let shown = ok(&herd_run(&herd, &["near", "emu", "--radius", "20037km", "-o", "jsonl"]));
    let found: Vec<_> = shown.lines().map(json).collect();
    let ids: Vec<_> = found.iter().map(|near| &near["location"]["client_id"]).collect();
    assert_eq!(ids, ["moa", "yak"]);
    assert!((found[0]["distance_meters"].as_f64().unwrap() - 1111.9).abs() < 1.0);
    let nobody = herd_run(&herd, &["near", "ghost"]);
    assert_eq!(code(&nobody), Some(3), "{}", err(&nobody));
    let outside = herd_run(&herd, &["near", "-91,0"]);
    assert_eq!(code(&outside), Some(4), "{}", err(&outside));
}

#[test]
fn an_area_and_the_beginning_of_an_id_can_be_watched() {
    let herd = herd();
    for (id, at) in [("bus-1", "-33.87,151.21"), ("bus-2", "27.59,86.56"), ("moa", "-33.87,151")] {
        ok(&herd_run(&herd, &["report", id, at]));
    }
    let around = ["watch", "--current", "--prefix", "bus-", "--count", "1", "-o", "json"];
    for area in [&["--near", "33°52'12\"S 151°12'36\"E"][..], &["--box", "-34,151,-33,152"]] {
        let shown = json(&ok(&herd_run(&herd, &[&around[..], area].concat())));
        assert_eq!((&shown["kind"], &shown["client_id"]), (&"entered".into(), &"bus-1".into()));
    }
    let wrong = herd_run(&herd, &["watch", "--box", "1,2,3"]);
    assert_eq!(code(&wrong), Some(2), "{}", err(&wrong));
    let wrong = herd_run(&herd, &["watch", "--box", "-1,2,-3,4"]);
    assert_eq!(code(&wrong), Some(4), "{}", err(&wrong));
    assert!(err(&wrong).contains("area.box.south"), "{}", err(&wrong));
}

#[test]
fn coordinates_may_be_written_in_each_form() {
    let herd = herd();
    for args in
        [&["-33.87,151.21"][..], &["-33.87 151.21"], &["-33.87", "151.21"], &["-33.87+151.21"]]
    {
        let mut words = vec!["report", "emu"];
        words.extend(args);
        words.extend(["-o", "json"]);
        let report = json(&ok(&herd_run(&herd, &words)));
        let position = &report["location"]["position"];
        assert_eq!(
            (&position["latitude"], &position["longitude"]),
            (&(-33.87).into(), &151.21.into())
        );
    }
}

#[test]
fn whatsat_lists_places_or_prints_the_text_protocols_answer() {
    let herd = herd();
    ok(&herd_run(&herd, &["report", "kiwi", "+34.068930-118.445127", "--time", "5"]));
    let args = ["whatsat", "kiwi", "--radius", "50km", "--max", "3"];
    let table = ok(&herd_run(&herd, &args));
    assert!(table.starts_with("DISTANCE  NAME"), "{table}");
    assert!(
        table.contains(" places near kiwi (+34.068930-118.445127), from embedded: "),
        "{table}"
    );

    let found = json(&ok(&herd_run(&herd, &[&args[..], &["-o", "json"]].concat())));
    let places = found["places"].as_array().unwrap();
    assert!((1..=3).contains(&places.len()), "{found}");
    assert!(places[0]["distance_meters"].as_f64().unwrap() <= 50_000.0);

    let lines = ok(&herd_run(&herd, &[&args[..], &["-o", "jsonl"]].concat()));
    assert_eq!(lines.lines().count(), places.len());
    assert_eq!(json(lines.lines().next().unwrap())["kind"], "place");

    let legacy = ok(&herd_run(&herd, &[&args[..], &["--legacy"]].concat()));
    let by_text = support::text::ask(herd.text("Bailey"), "WHATSAT kiwi 50 3\n");
    assert_eq!(legacy, by_text);
}

#[test]
fn many_reports_fail_one_by_one() {
    let herd = herd();
    let mut child = herd
        .command()
        .args(["report", "-", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let far_future = "9000000000";
    let lines = format!(
        "a +1+2 5\nb 91,0 5\n\n{{\"id\":\"c\",\"at\":\"3,4\"}}\nd +1+2 {far_future}\nnonsense\n"
    );
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = end_of(child);
    assert_eq!(code(&output), Some(8), "{}", err(&output));
    let total = json(&out(&output));
    assert_eq!((&total["taken"], &total["failed"]), (&2.into(), &3.into()));
    let failed: Vec<_> = err(&output).lines().map(|line| json(line)["line"].clone()).collect();
    assert_eq!(failed, [2, 5, 6]);
    assert_eq!(code(&herd_run(&herd, &["get", "c"])), Some(0));
    assert_eq!(code(&herd_run(&herd, &["get", "d"])), Some(3));
}

#[test]
fn a_file_of_more_than_a_batch_is_taken_whole() {
    let herd = herd();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut lines = Vec::new();
    for index in 0..5000 {
        writeln!(lines, "client-{index} 1,2 5").unwrap();
    }
    file.as_file().write_all(&lines).unwrap();
    let path = file.path().to_str().unwrap();
    let total = ok(&herd_run(&herd, &["report", "--file", path]));
    assert_eq!(total, "5000 reports taken, 5000 of them newest; 0 failed\n");
    assert_eq!(herd.status("Bailey").unwrap().clients, 5000);
}

#[test]
fn status_shows_all_nodes_and_whether_they_agree() {
    let mut herd = Herd::started(support::NODES, &[]);
    herd.wait_for_agreement();
    let table = ok(&herd_run(&herd, &["status"]));
    assert!(table.starts_with("NAME      STATE  CLIENTS  DIGEST            PEERS"), "{table}");
    assert!(table.ends_with("digests equal: all 5 nodes hold the same\n"), "{table}");

    herd.stop("Clark");
    let partial = herd_run(&herd, &["status", "-o", "json"]);
    assert_eq!(code(&partial), Some(8));
    let status = json(&out(&partial));
    assert_eq!((&status["up"], &status["digests_equal"]), (&4.into(), &true.into()));
    let clark = &status["nodes"][3];
    assert_eq!((&clark["name"], &clark["state"]), (&"Clark".into(), &"down".into()));
    assert!(clark["error"].as_str().unwrap().contains("connection refused"), "{clark}");
    assert_eq!(status["nodes"][0]["status"]["digest"].as_str().unwrap().len(), 16);

    // Bailey is cut off from Jaquez, and both hear news.
    herd.stop("Bona");
    herd.stop("Campbell");
    ok(&herd_run(&herd, &["--node", "Bailey", "report", "a", "1,2"]));
    let differ = out(&herd_run(&herd, &["status"]));
    assert!(differ.contains("digests differ: the 2 nodes that are up"), "{differ}");
    assert!(differ.contains("Bona: cannot reach the node at"), "{differ}");

    herd.stop("Bailey");
    herd.stop("Jaquez");
    let none = herd_run(&herd, &["status"]);
    assert_eq!(code(&none), Some(5));
    assert!(out(&none).ends_with("no node is up\n"), "{}", out(&none));
}

#[test]
fn watch_follows_and_ends_after_a_count() {
    let herd = herd();
    ok(&herd_run(&herd, &["report", "kiwi", "1,2", "--time", "5"]));
    let first = ok(&herd_run(&herd, &["watch", "--current", "--count", "1", "-o", "json"]));
    assert_eq!(json(&first)["client_id"], "kiwi");
    let mut child = watch(&herd, &["kiwi", "--current", "--count", "2"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("  kiwi  +01.000000+002.000000  Bailey "));
    ok(&herd_run(&herd, &["report", "emu", "1,2", "--time", "6"]));
    ok(&herd_run(&herd, &["report", "kiwi", "3,4", "--time", "6"]));
    assert!(lines.next().unwrap().unwrap().contains("  kiwi  +03.000000+004.000000  "));
    assert_eq!(code(&end_of(child)), Some(0));
}

fn watch(herd: &Herd, args: &[&str]) -> Child {
    let mut command = herd.command();
    command.arg("watch").args(args).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn interrupting_a_watch_tells_how_much_was_seen() {
    let herd = herd();
    ok(&herd_run(&herd, &["report", "kiwi", "1,2"]));
    let mut child = watch(&herd, &["--current"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    signal(child.id(), "INT");
    let output = end_of(child);
    assert_eq!(code(&output), Some(130));
    assert!(err(&output).starts_with("-- 1 changes seen in "), "{}", err(&output));
}

#[test]
fn a_watch_connects_again_when_its_node_comes_back() {
    let mut herd = herd();
    ok(&herd_run(&herd, &["report", "kiwi", "1,2"]));
    let mut child = watch(&herd, &["--current", "--count", "2"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("kiwi"));
    herd.stop("Bailey");
    herd.start_again_in_one_process();
    ok(&herd_run(&herd, &["report", "emu", "3,4"]));
    assert!(lines.next().unwrap().unwrap().contains("emu"));
    let output = end_of(child);
    assert_eq!(code(&output), Some(0));
    let notes = err(&output);
    assert!(
        notes.contains("-- connection lost: ") && notes.contains("-- connected again --"),
        "{notes}"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_is_noticed_in_a_quiet_herd() {
    let herd = herd();
    ok(&herd_run(&herd, &["report", "kiwi", "1,2", "--time", "5"]));
    let mut child = watch(&herd, &["--current"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    drop(lines);
    // Nobody reports, so that there is nothing to write by which the closed pipe would show.
    eventually(LIMIT, || child.try_wait().unwrap().map(drop).ok_or("still runs"));
    let output = end_of(child);
    assert_eq!((code(&output), &*err(&output)), (Some(0), ""));
}

#[test]
fn a_full_disk_is_an_error() {
    let herd = herd();
    let mut command = herd.command();
    command.arg("status").stdout(File::options().write(true).open("/dev/full").unwrap());
    let output = run(command);
    assert_eq!(code(&output), Some(1));
    assert!(err(&output).contains("cannot write the output"), "{}", err(&output));
}

#[test]
fn output_into_a_pipe_has_no_colours() {
    let herd = herd();
    let mut forced = herd.command();
    forced.arg("status").env("CLICOLOR_FORCE", "1").env_remove("NO_COLOR");
    assert!(ok(&run(forced)).starts_with('\u{1b}'));
    let plain = ok(&herd_run(&herd, &["status"]));
    assert!(!plain.contains('\u{1b}'), "{plain}");
}

#[test]
fn swapped_coordinates_are_explained() {
    let refused = alone(&["report", "kiwi", "-118.44,34.07"]);
    assert_eq!(code(&refused), Some(4));
    let message = err(&refused);
    assert!(
        message.contains("position.latitude: latitude must be between -90 and 90"),
        "{message}"
    );
    assert!(message.contains("did you swap them?"), "{message}");
    assert_eq!(out(&refused), "");
}

#[test]
fn what_a_node_refuses_names_the_field_too() {
    let herd = herd();
    let refused = herd_run(&herd, &["report", "kiwi", "1,2", "--time", "9000000000", "-o", "json"]);
    assert_eq!(code(&refused), Some(4), "{}", err(&refused));
    let error = json(&err(&refused));
    assert_eq!((&error["code"], &error["exit"]), (&"INVALID_ARGUMENT".into(), &4.into()));
    assert!(error["violations"][0]["field"].as_str().unwrap().starts_with("time"), "{error}");
    assert!(!error["hint"].is_null(), "{error}");
}

#[test]
fn an_unknown_client_has_its_exit_code() {
    let herd = herd();
    for args in [&["get", "nobody"][..], &["whatsat", "nobody"]] {
        let output = herd_run(&herd, args);
        assert_eq!(code(&output), Some(3), "{}", err(&output));
        assert!(err(&output).contains("nobody"), "{}", err(&output));
    }
}

#[test]
fn a_forgotten_client_is_gone_everywhere_and_a_watcher_hears_of_it() {
    let herd = Herd::started(support::NODES, &[]);
    ok(&herd_run(&herd, &["report", "kiwi", "1,2", "--time", "5"]));
    herd.wait_for_agreement();
    let mut child = watch(&herd, &["kiwi", "--current", "--count", "2", "-o", "json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(json(&lines.next().unwrap().unwrap())["kind"], "location");

    let told = ok(&herd_run(&herd, &["--node", "Jaquez", "forget", "kiwi", "-o", "json"]));
    let told = json(&told);
    assert_eq!((&told["kind"], &told["known"]), (&"forget".into(), &true.into()));
    assert_eq!(told["location"]["time_text"], "5");
    let change = json(&lines.next().unwrap().unwrap());
    assert_eq!((&change["kind"], &change["client_id"]), (&"forgotten".into(), &"kiwi".into()));
    assert_eq!(code(&end_of(child)), Some(0));
    herd.wait_for_agreement();
    assert_eq!(code(&herd_run(&herd, &["--node", "Clark", "get", "kiwi"])), Some(3));

    let again = ok(&herd_run(&herd, &["forget", "kiwi"]));
    assert_eq!(again, "kiwi is forgotten; this node did not know it\n");
    ok(&herd_run(&herd, &["report", "kiwi", "3,4", "--time", "1"]));
    assert!(ok(&herd_run(&herd, &["forget", "kiwi"])).starts_with("kiwi is forgotten; it was\n"));
}

#[test]
fn values_that_break_a_rule_have_their_exit_code() {
    for args in [
        &["get", "a b"][..],
        &["forget", "a b"],
        &["whatsat", "kiwi", "--radius", "51km"],
        &["whatsat", "kiwi", "--radius", "-1km"],
        &["whatsat", "kiwi", "--max", "21"],
        &["report", "kiwi", "1,2", "--time", "noon"],
        &["report", "kiwi", "here"],
    ] {
        assert_eq!(code(&alone(args)), Some(4), "{args:?}");
    }
}

#[test]
fn wrong_usage_has_its_exit_code() {
    for args in [
        &["fly"][..],
        &["get"],
        &["forget"],
        &["report", "kiwi"],
        &["report", "-", "--time", "5"],
        &["report", "--file", "/nowhere"],
        &["whatsat", "kiwi", "--radius", "10"],
        &["--node", "Nobody", "get", "kiwi"],
        &["--node", ":1", "get", "kiwi"],
        &["--herd-file", "/nowhere", "status"],
        &["--timeout", "soon", "status"],
        &["up", "--only", "Nobody"],
        &["watch", "--count", "0"],
    ] {
        let output = alone(args);
        assert_eq!(code(&output), Some(2), "{args:?}: {}", err(&output));
        let mut words = args.to_vec();
        words.extend(["--output", "json"]);
        assert_eq!(json(&err(&alone(&words)))["exit"], 2, "{args:?}");
    }
}

#[test]
fn nobody_there_is_said_in_plain_words() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = alone(&["--node", &port.to_string(), "get", "kiwi"]);
    assert_eq!(code(&refused), Some(5));
    assert!(err(&refused).contains("connection refused"), "{}", err(&refused));
    assert!(err(&refused).contains("herd-cli up"), "{}", err(&refused));

    let unknown = alone(&["--node", "no-such-host.invalid:50051", "get", "kiwi"]);
    assert_eq!(code(&unknown), Some(5), "{}", err(&unknown));
}

#[test]
fn a_port_that_speaks_something_else_is_recognised() {
    let herd = herd();
    let text_port = herd.text("Bailey").to_string();
    let output = alone(&["--node", &text_port, "get", "kiwi"]);
    assert_eq!(code(&output), Some(5), "{}", err(&output));
    assert!(err(&output).contains("does not speak gRPC"), "{}", err(&output));
}

#[test]
fn a_silent_port_ends_with_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let started = Instant::now();
    for command in [&["get", "kiwi"][..], &["watch"]] {
        let args = [&["--node", &address, "--timeout", "300ms"], command].concat();
        let output = alone(&args);
        assert_eq!(code(&output), Some(6), "{}", err(&output));
        assert!(err(&output).contains("within 300ms"), "{}", err(&output));
    }
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn verbose_tells_what_was_called() {
    let herd = herd();
    let output = herd_run(&herd, &["-v", "status"]);
    ok(&output);
    assert!(err(&output).contains("Node/GetStatus"), "{}", err(&output));
}

#[test]
fn the_environment_stands_in_for_flags() {
    let herd = herd();
    let mut command = herd_cli();
    command.args(["report", "kiwi", "1,2"]);
    command.env("HERD_FILE", herd.file()).env("HERD_NODE", "Jaquez").env("HERD_OUTPUT", "json");
    assert_eq!(json(&ok(&run(command)))["location"]["origin"], "Jaquez");
}

#[test]
fn up_tells_where_it_listens_and_stops_in_good_order() {
    for name in ["TERM", "INT"] {
        let herd = Herd::planned(&[]);
        let mut child = herd
            .command()
            .args(["up", "-o", "json", "--only", "Clark,Jaquez"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        eventually(LIMIT, || herd.status("Jaquez").map(drop));
        signal(child.id(), name);
        let output = end_of(child);
        assert_eq!(code(&output), Some(0), "{}", err(&output));
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        let started = json(&text);
        assert_eq!(started["nodes"][0]["name"], "Clark");
        assert_eq!(started["nodes"][1]["grpc"], herd.grpc("Jaquez").to_string());
        assert_eq!(started["nodes"][1]["text"], herd.text("Jaquez").to_string());
    }
}

#[test]
fn up_names_the_port_that_is_taken() {
    let herd = Herd::planned(&[]);
    for taken in [herd.grpc("Bona"), herd.text("Bona")] {
        let _holder = TcpListener::bind(taken).unwrap();
        let output = herd_run(&herd, &["up"]);
        assert_eq!(code(&output), Some(1));
        assert!(err(&output).contains(&taken.to_string()), "{}", err(&output));
    }
}

#[test]
fn up_reports_all_problems_of_its_settings_before_it_starts() {
    let herd = Herd::planned(&[]);
    let mut command = herd.command();
    command.args(["up", "--max-future", "soon"]).env("HERD_PLACES_PROVIDER", "oracle");
    let output = run(command);
    assert_eq!(code(&output), Some(2), "{}", err(&output));
    for part in ["max_future", "oracle"] {
        assert!(err(&output).contains(part), "{}", err(&output));
    }
    assert_eq!(err(&output).matches("max_future").count(), 1);
}

#[test]
fn a_log_directory_gets_every_line_and_every_link() {
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("made/by/up");
    let mut herd = Herd::planned(&[("HERD_LOG_DIR", logs.to_str().unwrap())]);
    herd.start_in_one_process();
    herd.wait_for_agreement();
    support::text::ask(herd.text("Bona"), "HELO\n");
    eventually(LIMIT, || {
        let lines = std::fs::read_to_string(logs.join("Bona.log")).unwrap_or_default();
        let both = lines.contains("< HELO") && lines.contains("> ? HELO");
        if both { Ok(()) } else { Err(lines) }
    });
    eventually(LIMIT, || {
        let notes = std::fs::read_to_string(logs.join("herd.log")).unwrap_or_default();
        let linked = notes.contains("Bona") && notes.contains("Campbell");
        if linked { Ok(()) } else { Err(notes) }
    });
}

#[test]
fn a_herd_under_load_tells_what_it_took() {
    let herd = herd();
    for load in ["reports", "calls", "lines", "queries", "propagation"] {
        let short = ["--lasts", "1s", "--warm-up", "50ms", "--clients", "1000"];
        let small = "--batch 16 --rate 200 --connections 2 --in-flight 4";
        let small: Vec<_> = small.split(' ').collect();
        let output = herd_run(
            &herd,
            &[&["bench", load, "--output", "json"], &short[..], &small[..]].concat(),
        );
        let measured = json(&ok(&output));
        assert!(measured["operations"].as_u64() > Some(0), "{load}: {measured}");
        assert_eq!(measured["refused"], 0, "{load}: {measured}");
        let quantile = |name: &str| measured["latency"][name].as_f64().unwrap();
        assert!(quantile("p50") <= quantile("p99"), "{load}: {measured}");
        herd.wait_for_agreement();
    }
    let flood = ["bench", "flood", "--clients", "2000", "--output", "json"];
    let flooded = json(&ok(&herd_run(&herd, &flood)));
    assert_eq!(flooded["reports"], 2000);
    assert!(flooded["copies_a_report"].as_f64().unwrap() >= 4.0, "to four others: {flooded}");
    herd.wait_for_agreement();
}

#[test]
fn a_load_without_a_target_is_refused() {
    let output = alone(&["--node", "127.0.0.1:9", "bench", "lines"]);
    assert_eq!(code(&output), Some(2));
    assert!(err(&output).contains("give --text"), "{}", err(&output));
    let output = alone(&["--node", "127.0.0.1:9", "bench", "reports"]);
    assert_eq!(code(&output), Some(1), "{}", err(&output));
}
