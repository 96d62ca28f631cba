//! Queries as people and tools write them, their results, and where mistakes are.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Three devices, as the REST API shows them.
fn rows() -> Vec<Value> {
    vec![
        json!({
            "deviceId": "d1", "status": "enabled", "connectionState": "Connected", "version": 7,
            "lastActivityTime": "2026-01-02T00:00:00Z", "parentScopes": ["edge-1"],
            "capabilities": {"iotEdge": true},
            "tags": {"building": "43", "floor": 1, "group": "a", "none": null, "odd name": 1},
            "properties": {
                "desired": {"$version": 4},
                "reported": {"fw": "1.0", "load": 0.5, "lastDesiredVersion": 4, "$version": 9},
            },
        }),
        json!({
            "deviceId": "d2", "status": "enabled", "connectionState": "Disconnected", "version": 3,
            "lastActivityTime": "0001-01-01T00:00:00Z",
            "capabilities": {"iotEdge": false},
            "tags": {"building": "43", "floor": 2, "flag": true},
            "properties": {"desired": {"$version": 2}, "reported": {"fw": "1.1", "load": 1.5, "lastDesiredVersion": 1}},
        }),
        json!({
            "deviceId": "e1", "status": "disabled", "connectionState": "Disconnected", "version": 2,
            "lastActivityTime": "2025-01-01T00:00:00Z",
            "capabilities": {"iotEdge": false},
            "tags": {"floor": "2"},
            "properties": {"desired": {"$version": 1}, "reported": {"fw": "1.1"}},
        }),
    ]
}

fn run(text: &str) -> Vec<Value> {
    let query = Query::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    query.evaluate(&mut rows().into_iter())
}

/// The ids of the rows that meet a condition.
#[track_caller]
fn check_where(condition: &str, expected: &[&str]) {
    let found = run(&format!("SELECT * FROM devices WHERE {condition}"));
    let ids: Vec<_> = found
        .iter()
        .map(|row| row["deviceId"].as_str().unwrap())
        .collect();
    assert_eq!(ids, expected, "{condition}");
}

#[test]
fn selects_whole_rows() {
    assert_eq!(run("SELECT * FROM devices"), rows());
    assert_eq!(run("select top 2 * from DEVICES"), rows()[..2]);
    assert_eq!(run("SELECT TOP 0 * FROM devices"), [] as [Value; 0]);
    assert_eq!(
        Query::parse("SELECT * FROM devices").unwrap().item_type(),
        ItemType::Twin
    );
}

#[test]
fn knows_its_source_and_results() {
    #[track_caller]
    fn check(text: &str, source: Source, item_type: &str) {
        let query = Query::parse(text).unwrap();
        assert_eq!(
            (query.source(), query.item_type().name()),
            (source, item_type)
        );
    }
    check("SELECT * FROM devices", Source::Devices, "Twin");
    check("SELECT * FROM Devices.Modules", Source::Modules, "Twin");
    check("SELECT * FROM devices.jobs", Source::Jobs, "DeviceJob");
    check("SELECT deviceId FROM devices", Source::Devices, "Raw");
    check("SELECT COUNT() AS n FROM devices", Source::Devices, "Raw");
}

#[test]
fn compares() {
    check_where("tags.building = '43'", &["d1", "d2"]);
    check_where("tags.building = \"43\"", &["d1", "d2"]);
    check_where("tags.floor = 2", &["d2"]);
    check_where("tags.floor = '2'", &["e1"]);
    check_where("tags.floor != 2", &["d1"]);
    check_where("tags.floor <> 2", &["d1"]);
    check_where("tags.floor >= 1", &["d1", "d2"]);
    check_where("tags.floor < 2", &["d1"]);
    check_where("2 > tags.floor", &["d1"]);
    check_where("tags.floor <= 0x2", &["d1", "d2"]);
    check_where("properties.reported.load = 5e-1", &["d1"]);
    check_where("properties.reported.load > -1.0", &["d1", "d2"]);
    check_where("lastActivityTime >= '2026-01-01T00:00:00Z'", &["d1"]);
    check_where(
        "properties.desired.$version = properties.reported.lastDesiredVersion",
        &["d1"],
    );
    check_where("capabilities.iotEdge = true", &["d1"]);
    check_where("tags = tags", &[]);
    check_where("tags.flag", &["d2"]);
    check_where("tags.floor", &[]);
    check_where("true > false", &[]);
}

#[test]
fn names_of_attributes_ignore_case_and_others_do_not() {
    check_where("DEVICEID = 'd1'", &["d1"]);
    check_where("id = 'd1'", &["d1"]);
    check_where("ConnectionState = 'Connected'", &["d1"]);
    check_where("connectionState = 'connected'", &[]);
    check_where("tags.Building = '43'", &[]);
}

#[test]
fn what_is_missing_is_neither_true_nor_false() {
    check_where("tags.nothing = 1", &[]);
    check_where("tags.nothing != 1", &[]);
    check_where("NOT tags.nothing = 1", &[]);
    check_where("NOT (tags.flag = true)", &[]);
    check_where("tags.flag = true OR deviceId = 'd1'", &["d1", "d2"]);
    check_where("NOT (tags.flag = true AND deviceId = 'e1')", &["d1", "d2"]);
    check_where("tags.flag = true AND deviceId = 'e1'", &[]);
    check_where("NOT (tags.flag = true OR deviceId = 'd1')", &[]);
    check_where("tags.none = null", &["d1"]);
    check_where("IS_DEFINED(tags.none)", &["d1"]);
    check_where("not is_defined(tags.flag)", &["d1", "e1"]);
    check_where("tags.floor = undefined", &[]);
    check_where("tags.building.deeper = 1", &[]);
}

#[test]
fn joins_conditions() {
    check_where(
        "status = 'enabled' AND tags.floor = 1 OR deviceId = 'e1'",
        &["d1", "e1"],
    );
    check_where(
        "status = 'enabled' AND (tags.floor = 1 OR deviceId = 'e1')",
        &["d1"],
    );
    check_where("NOT status = 'enabled'", &["e1"]);
    check_where("NOT NOT status = 'disabled'", &["e1"]);
    check_where("true", &["d1", "d2", "e1"]);
}

#[test]
fn calculates() {
    check_where("version + 1 * 2 = 9", &["d1"]);
    check_where("(version + 1) * 2 = 16", &["d1"]);
    check_where("version % 2 = 0", &["e1"]);
    check_where("10 - version - 1 = 2", &["d1"]);
    check_where("version / 2 > 3", &["d1"]);
    check_where("-version < -5", &["d1"]);
    check_where("version / 0 > 0", &[]);
    check_where("tags.building + 1 = 44", &[]);
}

#[test]
fn looks_into_lists() {
    check_where("deviceId IN ['d1', 'e1']", &["d1", "e1"]);
    check_where("deviceId nin ['d1', 'e1']", &["d2"]);
    check_where("tags.floor IN [2, '2', -1, null, true]", &["d2", "e1"]);
    check_where("tags.nothing NIN ['a']", &[]);
    check_where("deviceId IN []", &[]);
    check_where("ARRAY_CONTAINS(parentScopes, 'edge-1')", &["d1"]);
    check_where("array_contains(['d2', [1]], deviceId)", &["d2"]);
}

#[test]
fn looks_into_texts() {
    check_where("STARTSWITH(deviceId, 'd')", &["d1", "d2"]);
    check_where("EndsWith(deviceId, '1')", &["d1", "e1"]);
    check_where("STARTSWITH(version, '7')", &[]);
    check_where(
        r"'it\'s \u0041\uD83D\uDE00\\' = 'it\'s A😀\\' AND deviceId = 'd1'",
        &["d1"],
    );
}

#[test]
fn unusual_names_are_escaped() {
    check_where("tags.[[group]] = 'a'", &["d1"]);
    check_where("tags.[[odd name]] = 1", &["d1"]);
}

#[test]
fn reads_the_queries_of_tools() {
    for text in [
        "select deviceId from devices.modules where moduleId = '$edgeAgent' and configurations.[[deployment1]].status = 'Applied' and properties.desired.$version = properties.reported.lastDesiredVersion and properties.reported.lastDesiredStatus.code != 200",
        "select deviceId from devices where tags.environment='test'",
        "select * from devices where capabilities.iotEdge = true",
        "SELECT deviceId, deviceScope FROM devices",
        "SELECT properties.reported.iothubDM.firmwareUpdate.status AS status, COUNT() AS n FROM devices GROUP BY properties.reported.iothubDM.firmwareUpdate.status",
        "SELECT * FROM devices.jobs WHERE devices.jobs.jobId='job1' AND devices.jobs.status='failed'",
    ] {
        assert!(Query::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn selects_columns() {
    assert_eq!(
        run(
            "SELECT deviceId, tags.floor, properties.reported.load AS l FROM devices WHERE tags.building = '43'"
        ),
        [
            json!({"deviceId": "d1", "floor": 1, "l": 0.5}),
            json!({"deviceId": "d2", "floor": 2, "l": 1.5})
        ]
    );
    assert_eq!(run("SELECT TOP 1 tags.flag FROM devices"), [json!({})]);
}

#[test]
fn aggregates() {
    assert_eq!(run("SELECT COUNT() AS n FROM devices"), [json!({"n": 3})]);
    assert_eq!(
        run("SELECT count(*), COUNT(tags.flag) FROM devices"),
        [json!({"$1": 3, "$2": 1})]
    );
    assert_eq!(
        run(
            "SELECT SUM(version) AS s, AVG(version) AS a, MIN(version) AS lo, MAX(version) AS hi FROM devices"
        ),
        [json!({"s": 12, "a": 4, "lo": 2, "hi": 7})]
    );
    assert_eq!(
        run("SELECT AVG(properties.reported.load) AS a, SUM(tags.floor) AS f FROM devices"),
        [json!({"a": 1, "f": 3})]
    );
    assert_eq!(
        run("SELECT COUNT() AS n, AVG(version) AS a FROM devices WHERE false"),
        [json!({"n": 0})]
    );
}

#[test]
fn groups() {
    assert_eq!(
        run(
            "SELECT properties.reported.fw AS fw, COUNT() AS n FROM devices GROUP BY properties.reported.fw"
        ),
        [json!({"fw": "1.0", "n": 1}), json!({"fw": "1.1", "n": 2})]
    );
    assert_eq!(
        run(
            "SELECT TOP 2 tags.floor, status, COUNT() AS n FROM devices GROUP BY status, tags.floor"
        ),
        [
            json!({"floor": 1, "status": "enabled", "n": 1}),
            json!({"floor": 2, "status": "enabled", "n": 1})
        ]
    );
    // Rows without the path are a group without the column; null is a value of its own.
    assert_eq!(
        run("SELECT tags.none, COUNT() AS n FROM devices GROUP BY tags.none"),
        [json!({"none": null, "n": 1}), json!({"n": 2})]
    );
    assert_eq!(
        run("SELECT status FROM devices GROUP BY status"),
        [json!({"status": "enabled"}), json!({"status": "disabled"})]
    );
    assert_eq!(
        run("SELECT COUNT() AS n FROM devices WHERE false GROUP BY status"),
        [] as [Value; 0]
    );
}

#[test]
fn selects_results_of_jobs() {
    let results = [
        json!({"jobId": "j1", "status": "failed"}),
        json!({"jobId": "j1", "status": "completed"}),
    ];
    let query = Query::parse(
        "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'j1' AND Devices.Jobs.Status = 'failed'",
    );
    assert_eq!(
        query.unwrap().evaluate(&mut results.clone().into_iter()),
        results[..1]
    );
}

#[test]
fn says_where_a_mistake_is() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(
            Query::parse(text).unwrap_err().to_string(),
            expected,
            "{text}"
        );
    }
    check("", "expected SELECT at character 1");
    check("SELECT", "expected a name at character 7");
    check("SELECT * devices", "expected FROM at character 10");
    check(
        "SELECT * FROM nowhere",
        "expected `devices`, `devices.modules` or `devices.jobs` at character 15",
    );
    check(
        "SELECT * FROM devices WHERE",
        "expected a value at character 28",
    );
    check(
        "SELECT * FROM devices WHERE a = ",
        "expected a value at character 33",
    );
    check(
        "SELECT * FROM devices WHERE a = b = c",
        "expected the end of the query at character 35",
    );
    check(
        "SELECT * FROM devices ORDER BY a",
        "expected the end of the query at character 23",
    );
    check(
        "SELECT *, a FROM devices",
        "`*` cannot be selected with other columns at character 9",
    );
    check(
        "SELECT a, tags.a FROM devices",
        "two columns are named `a`: give one another name with AS at character 11",
    );
    check(
        "SELECT a AS 1 FROM devices",
        "expected a name after AS at character 13",
    );
    check(
        "SELECT TOP 1.5 * FROM devices",
        "TOP needs a whole number at character 12",
    );
    check(
        "SELECT SUM(*) FROM devices",
        "expected a name at character 12",
    );
    check(
        "SELECT MEDIAN(a) FROM devices",
        "`MEDIAN` is none of COUNT, SUM, AVG, MIN and MAX at character 8",
    );
    check(
        "SELECT a, COUNT() FROM devices",
        "column `a` is neither an aggregate nor grouped by at character 8",
    );
    check(
        "SELECT a FROM devices GROUP BY b",
        "column `a` is neither an aggregate nor grouped by at character 23",
    );
    check(
        "SELECT * FROM devices GROUP BY b",
        "`*` cannot be grouped at character 23",
    );
    check(
        "SELECT deviceId FROM devices.jobs",
        "`devices.jobs` can be selected from with `SELECT *` and without GROUP BY only at character 8",
    );
    check(
        "SELECT * FROM devices WHERE tags.group = 1",
        "reserved word in a path: write it as `[[word]]` at character 34",
    );
    check(
        "SELECT * FROM devices WHERE tags. = 1",
        "expected a name after the point at character 35",
    );
    check(
        "SELECT * FROM devices WHERE STARTS_WITH(a, 'x')",
        "`STARTS_WITH` is no function of twin queries at character 29",
    );
    check(
        "SELECT * FROM devices WHERE CONTAINS(a, 'x')",
        "`CONTAINS` is no function of twin queries at character 29",
    );
    check(
        "SELECT * FROM devices WHERE a IN ('x')",
        "expected `[` at character 34",
    );
    check(
        "SELECT * FROM devices WHERE a IN [b]",
        "expected a value at character 35",
    );
    check(
        "SELECT * FROM devices WHERE (a = 1",
        "expected `)` at character 35",
    );
    check(
        "SELECT * FROM devices WHERE ä = 'x",
        "text has no closing quotation mark at character 33",
    );
    check(
        "SELECT * FROM devices WHERE a = 1x",
        "1x is not a number at character 33",
    );
    check(
        "SELECT * FROM devices WHERE a = 1e999",
        "1e999 is not a number at character 33",
    );
    check(
        "SELECT * FROM devices WHERE a ; b",
        "unexpected character ';' at character 31",
    );
    check(
        r"SELECT * FROM devices WHERE a = '\q'",
        "text has an unknown escape sequence at character 33",
    );
    check(
        r"SELECT * FROM devices WHERE a = '\uD800x'",
        "text has half a surrogate pair at character 33",
    );
    check(
        r"SELECT * FROM devices WHERE a = '\u00g0'",
        "`\\u` is not followed by four hexadecimal digits at character 33",
    );
    check(
        "SELECT * FROM devices WHERE a.[[b] = 1",
        "`[[` has no closing `]]` at character 31",
    );
    check(
        &" ".repeat(8193),
        "query has 8193 characters, more than 8192 at character 8193",
    );
}

#[test]
fn hostile_nesting_is_refused_and_long_chains_are_not() {
    for (open, close) in [
        ("(", ")"),
        ("NOT ", ""),
        ("- ", ""),
        ("[", "]"),
        ("STARTSWITH(", ", 'a')"),
    ] {
        let deep = |levels: usize| {
            format!(
                "SELECT * FROM devices WHERE {}1{}",
                open.repeat(levels),
                close.repeat(levels)
            )
        };
        assert!(Query::parse(&deep(20)).is_ok(), "{open}");
        let error = Query::parse(&deep(400)).unwrap_err();
        assert_eq!(error.message, "query is nested too deeply", "{open}");
    }
    let chain = format!(
        "SELECT * FROM devices WHERE true{}",
        " AND true".repeat(900)
    );
    assert_eq!(run(&chain).len(), 3);
    let sum = format!("SELECT * FROM devices WHERE 0{} = 4000", "+1".repeat(4000));
    assert_eq!(run(&sum).len(), 3);
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        let _ = Query::parse(&text);
    }

    #[test]
    fn no_tokens_panic(
        words in proptest::collection::vec("SELECT|TOP|\\*|FROM|devices|\\.|jobs|modules|WHERE|GROUP|BY|AS|AND|OR|NOT|IN|NIN|\\[|\\]|\\[\\[|\\]\\]|\\(|\\)|,|COUNT|SUM|tags|properties|deviceId|IS_DEFINED|ARRAY_CONTAINS|STARTSWITH|=|<>|[-+/%<>]|1|0x|1e|'a'|'|\\\\|null|undefined|true", 0..30),
        condition in proptest::bool::ANY,
    ) {
        let start = if condition { "SELECT * FROM devices WHERE " } else { "" };
        if let Ok(query) = Query::parse(&format!("{start}{}", words.join(" "))) {
            let _ = query.evaluate(&mut rows().into_iter());
        }
    }

    #[test]
    fn a_condition_and_its_negation_share_no_row(
        path in "tags\\.(floor|building|flag|none|group1)|version|deviceId",
        comparison in "=|!=|<|<=|>|>=",
        value in "1|2|'43'|true|null|undefined",
    ) {
        let select = |condition: &str| run(&format!("SELECT * FROM devices WHERE {condition}"));
        let condition = format!("{path} {comparison} {value}");
        let (yes, no) = (select(&condition), select(&format!("NOT ({condition})")));
        prop_assert!(yes.iter().all(|row| !no.contains(row)));
    }
}
