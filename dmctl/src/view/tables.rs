//! Lists of attempts and devices, and one device in detail, in lines for a person.

use std::borrow::Cow;

use iothubdm_proto::v1::{AuditEvent, Device, RebootAttempt};
use owo_colors::OwoColorize as _;

use crate::{
    name,
    words::{self, harmless},
};

/// A table of attempts.
pub(crate) fn attempts(attempts: &[RebootAttempt]) -> Vec<String> {
    let mut rows = vec![["CREATED", "STATE", "EVIDENCE", "NAME", "CAUSE"].map(String::from)];
    for attempt in attempts {
        let created = words::moment(attempt.create_time.as_ref());
        let grade = attempt
            .evidence
            .as_ref()
            .and_then(|e| words::grade(e.grade()));
        rows.push([
            created.map_or_else(String::new, words::calendar),
            words::state(attempt.state()).to_owned(),
            grade.unwrap_or("-").to_owned(),
            name::short(&attempt.name),
            attempt
                .error
                .as_ref()
                .map_or_else(String::new, |e| e.code.clone()),
        ]);
    }
    table(&rows)
}

/// A table of the audit.
pub(crate) fn audit(events: &[AuditEvent]) -> Vec<String> {
    let mut rows = vec![
        [
            "TIME", "DECISION", "ACTION", "CALLER", "DEVICE", "VERDICT", "REASON",
        ]
        .map(String::from),
    ];
    let or_dash = |text: &str| match text {
        "" => "-".to_owned(),
        text => text.to_owned(),
    };
    for event in events {
        let time = words::moment(event.time.as_ref());
        let verdict = format!("{} {}", event.verdict, event.evidence);
        rows.push([
            time.map_or_else(String::new, words::calendar),
            words::decision(event.decision()).to_owned(),
            event.action.clone(),
            format!("{} {}", or_dash(&event.caller), event.origin),
            or_dash(name::device_of(&event.device)),
            or_dash(verdict.trim()),
            event.reason.clone(),
        ]);
    }
    table(&rows)
}

/// A table of devices.
pub(crate) fn devices(devices: &[Device]) -> Vec<String> {
    let mut rows = vec![
        [
            "DEVICE",
            "CONNECTED",
            "DIALECT",
            "EVIDENCE",
            "LAST REBOOT",
            "OPEN ATTEMPT",
        ]
        .map(String::from),
    ];
    for device in devices {
        let last = words::moment(device.last_reboot_time.as_ref());
        rows.push([
            name::device_of(&device.name).to_owned(),
            connection(device).to_owned(),
            words::dialect(device.dialect()).unwrap_or("-").to_owned(),
            words::grade(device.best_evidence())
                .unwrap_or("-")
                .to_owned(),
            last.map_or_else(|| "-".to_owned(), words::calendar),
            match device.open_reboot.as_str() {
                "" => "-".to_owned(),
                open => name::short(open),
            },
        ]);
    }
    table(&rows)
}

/// One device in detail.
pub(crate) fn device(device: &Device) -> Vec<String> {
    let id = harmless(name::device_of(&device.name));
    let mut lines = vec![id.bold().to_string()];
    let mut line = |name: &str, value: String| {
        let value = harmless(&value);
        lines.push(format!("  {name:<13} {value}"));
    };
    line("connected", connection(device).to_owned());
    if let Some(time) = words::moment(device.last_activity_time.as_ref()) {
        line("last activity", words::calendar(time));
    }
    line(
        "dialect",
        words::dialect(device.dialect())
            .unwrap_or("not known yet")
            .to_owned(),
    );
    let modes: Vec<_> = device.modes().map(words::mode).collect();
    if !modes.is_empty() {
        line("modes", modes.join(", "));
    }
    if let Some(grade) = words::grade(device.best_evidence()) {
        line("best evidence", grade.to_owned());
    }
    line(
        "can cancel",
        if device.can_cancel { "yes" } else { "no" }.to_owned(),
    );
    if !device.gateway.is_empty() {
        line(
            "gateway",
            format!("{} {}", device.gateway, device.gateway_version),
        );
    }
    if !device.boot_id.is_empty() {
        line("boot id", device.boot_id.clone());
    }
    if let Some(time) = words::moment(device.last_reboot_time.as_ref()) {
        line("last reboot", words::calendar(time));
    }
    if !device.open_reboot.is_empty() {
        line("open attempt", name::short(&device.open_reboot));
    }
    lines
}

fn connection(device: &Device) -> &'static str {
    match (device.enabled, device.connected) {
        (false, _) => "disabled",
        (true, true) => "yes",
        (true, false) => "no",
    }
}

/// Pads every column to its widest cell.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| harmless(cell)))
        .collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[Cow<'_, str>; N]| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[test]
fn no_cell_moves_the_cursor() {
    let event = AuditEvent {
        reason: "a\x1b[2J\nb".into(),
        ..AuditEvent::default()
    };
    let lines = audit(&[event]);
    assert_eq!(lines.len(), 2);
    assert!(!lines.concat().contains(char::is_control), "{lines:?}");
}
