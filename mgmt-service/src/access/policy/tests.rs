//! Every call, every role, every scope.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::access::{StaticToken, scope::Tag};

fn caller(name: &str) -> Identity {
    Identity::Token(StaticToken::new(name.into(), "secret"))
}

fn device(id: &str) -> DeviceId {
    id.parse().unwrap()
}

fn binding(role: Role, extras: &[Right], devices: &[&str], site: Option<&str>) -> Binding {
    let tag = |site: &str| Tag {
        path: vec!["site".into()],
        value: site.into(),
    };
    Binding {
        who: vec![Who::Token("t".into())],
        role,
        extras: extras.iter().copied().collect(),
        scope: Scope {
            devices: devices.iter().map(|text| text.parse().unwrap()).collect(),
            tags: site.map(tag).into_iter().collect(),
        },
    }
}

fn grants(bindings: Vec<Binding>) -> Grants {
    let policy = Policy {
        bindings,
        open: false,
    };
    policy.grants(&caller("t"))
}

/// What each call needs, with every variant that needs something else.
fn calls() -> Vec<(&'static str, &'static [Right])> {
    const VIEW: &[Right] = &[Right::View];
    vec![
        ("GetDevice", VIEW),
        ("ListDevices", VIEW),
        ("GetReboot", VIEW),
        ("ListReboots", VIEW),
        ("WatchReboot", VIEW),
        (
            "Reboot gracefully",
            to_reboot(Mode::Graceful, Mode::Graceful),
        ),
        ("Reboot by force", to_reboot(Mode::Forced, Mode::Forced)),
        (
            "Reboot by power",
            to_reboot(Mode::PowerCycle, Mode::PowerCycle),
        ),
        (
            "Reboot, up to force",
            to_reboot(Mode::Graceful, Mode::Forced),
        ),
        (
            "Reboot, up to power",
            to_reboot(Mode::Graceful, Mode::PowerCycle),
        ),
        ("CancelReboot, own", to_cancel(true, false)),
        ("CancelReboot, another's", to_cancel(false, false)),
        ("CancelReboot, abandon own", to_cancel(true, true)),
        ("CancelReboot, abandon another's", to_cancel(false, true)),
        ("ListAuditEvents", &[Right::Audit]),
    ]
}

#[test]
fn every_call_by_role_and_scope() {
    use Decision::{Allowed, Denied, Hidden};
    let lacks = |right| Denied(right);
    // Over a device in scope, for a viewer, an operator, and an operator with every extra.
    let extras = Role::Operator.extras();
    let expected = [
        [Allowed, Allowed, Allowed],
        [Allowed, Allowed, Allowed],
        [Allowed, Allowed, Allowed],
        [Allowed, Allowed, Allowed],
        [Allowed, Allowed, Allowed],
        [lacks(Right::Reboot), Allowed, Allowed],
        [lacks(Right::Reboot), lacks(Right::Force), Allowed],
        [lacks(Right::Reboot), lacks(Right::PowerCycle), Allowed],
        [lacks(Right::Reboot), lacks(Right::Force), Allowed],
        [lacks(Right::Reboot), lacks(Right::Force), Allowed],
        [lacks(Right::Cancel), Allowed, Allowed],
        [lacks(Right::Cancel), lacks(Right::CancelOthers), Allowed],
        [lacks(Right::Cancel), lacks(Right::Abandon), Allowed],
        [lacks(Right::Cancel), lacks(Right::CancelOthers), Allowed],
        [lacks(Right::Audit), lacks(Right::Audit), Allowed],
    ];
    let scopes: [(&[&str], Option<&str>); 4] = [
        (&[], None),
        (&["pump-*"], None),
        (&[], Some("north")),
        (&["pump-*"], Some("north")),
    ];
    let tags = json!({"site": "north"});
    let elsewhere = json!({"site": "south"});
    for (devices, site) in scopes {
        let roles = [
            (Role::Viewer, &[][..]),
            (Role::Operator, &[]),
            (Role::Operator, extras),
        ];
        for (at, (role, extras)) in roles.into_iter().enumerate() {
            let grants = grants(vec![binding(role, extras, devices, site)]);
            for ((call, needed), expected) in calls().into_iter().zip(expected) {
                let told = format!("{call} as {role} over {devices:?} {site:?}");
                let decide =
                    |id, tags: &Value| grants.decide(needed, &device(id), tags.as_object());
                assert_eq!(decide("pump-1", &tags), expected[at], "{told}");
                let other_site = if site.is_none() { expected[at] } else { Hidden };
                assert_eq!(decide("pump-1", &elsewhere), other_site, "{told}");
                let other_id = if devices.is_empty() {
                    expected[at]
                } else {
                    Hidden
                };
                assert_eq!(decide("meter-1", &tags), other_id, "{told}");
            }
        }
        let admin = grants(vec![binding(Role::Admin, &[], devices, site)]);
        for (call, needed) in calls() {
            let decision = admin.decide(needed, &device("pump-1"), tags.as_object());
            assert_eq!(decision, Allowed, "{call}");
        }
    }
}

#[test]
fn nobody_without_a_binding_may_do_anything() {
    let policy = Policy {
        bindings: vec![binding(Role::Admin, &[], &[], None)],
        open: false,
    };
    for identity in [Identity::Anonymous, caller("other")] {
        let grants = policy.grants(&identity);
        for (call, needed) in calls() {
            let decision = grants.decide(needed, &device("a"), None);
            assert_eq!(decision, Decision::Hidden, "{call}");
        }
        assert!(Right::ALL.into_iter().all(|right| !grants.somewhere(right)));
    }
}

#[test]
fn only_an_open_service_lets_everybody_do_everything() {
    let open = Policy {
        bindings: Vec::new(),
        open: true,
    };
    assert_eq!(open.grants(&Identity::Anonymous), Grants::everything());
    assert_eq!(open.grants(&caller("t")), Grants::default());
    assert!(Grants::everything().everywhere(Right::Audit));
}

#[test]
fn several_bindings_add_up_on_the_devices_of_both() {
    let grants = grants(vec![
        binding(Role::Viewer, &[Right::Audit], &[], None),
        binding(Role::Operator, &[], &["pump-*"], None),
        binding(Role::Operator, &[Right::Force], &[], Some("north")),
    ]);
    let north = json!({"site": "north"});
    let decide = |right, id, tags: &Value| grants.decide(&[right], &device(id), tags.as_object());
    assert_eq!(
        decide(Right::Reboot, "pump-1", &json!({})),
        Decision::Allowed
    );
    let lacks_force = Decision::Denied(Right::Force);
    assert_eq!(decide(Right::Force, "pump-1", &json!({})), lacks_force);
    assert_eq!(decide(Right::Force, "pump-1", &north), Decision::Allowed);
    let lacks_reboot = Decision::Denied(Right::Reboot);
    assert_eq!(decide(Right::Reboot, "meter-1", &json!({})), lacks_reboot);
    assert!(grants.everywhere(Right::View) && !grants.everywhere(Right::Reboot));
    assert!(grants.everywhere(Right::Audit) && grants.somewhere(Right::Force));
}

#[test]
fn tags_are_asked_for_only_when_they_decide() {
    let north = binding(Role::Operator, &[], &["pump-*"], Some("north"));
    let all = binding(Role::Viewer, &[], &[], None);
    let ask =
        |bindings: Vec<Binding>, right, id| grants(bindings).decide(&[right], &device(id), None);
    let needs = Decision::NeedsTags;
    assert_eq!(ask(vec![north.clone()], Right::Reboot, "pump-1"), needs);
    assert_eq!(
        ask(vec![north.clone()], Right::Reboot, "a"),
        Decision::Hidden
    );
    // Whether it is hidden or denied hangs on the tags, too.
    assert_eq!(ask(vec![north.clone()], Right::Force, "pump-1"), needs);
    let both = || vec![north.clone(), all.clone()];
    assert_eq!(ask(both(), Right::View, "pump-1"), Decision::Allowed);
    assert_eq!(
        ask(both(), Right::Force, "pump-1"),
        Decision::Denied(Right::Force)
    );
    assert_eq!(ask(both(), Right::Reboot, "pump-1"), needs);
}

#[test]
fn a_call_that_nobody_thought_about_is_nobodys() {
    assert_eq!(least_right("FactoryReset"), None);
    assert_eq!(least_right(""), None);
}

proptest! {
    /// Knowing the tags never takes away what was decided without them.
    #[test]
    fn tags_only_settle_what_was_open(
        roles in proptest::collection::vec((0..3_usize, 0..3_usize, 0..3_usize), 0..4),
        needed in 0..8_usize,
        site in 0..2_usize,
    ) {
        let bindings = roles.into_iter().map(|(role, devices, site)| {
            let role = [Role::Viewer, Role::Operator, Role::Admin][role];
            let devices: &[&str] = [&[][..], &["pump-*"], &["meter-*"]][devices];
            binding(role, &[], devices, [None, Some("north"), Some("south")][site])
        });
        let grants = grants(bindings.collect());
        let needed = [Right::ALL[needed]];
        let site = ["north", "south"][site];
        let tags = json!({"site": site});
        let without = grants.decide(&needed, &device("pump-1"), None);
        let with = grants.decide(&needed, &device("pump-1"), tags.as_object());
        prop_assert_ne!(with, Decision::NeedsTags);
        prop_assert!(without == Decision::NeedsTags || without == with);
        if with == Decision::Allowed {
            prop_assert!(grants.somewhere(needed[0]));
        }
    }
}
