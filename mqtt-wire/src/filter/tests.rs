//! Which filters there are and what they match.

use proptest::prelude::*;

use super::*;

#[test]
fn matches_by_levels() {
    #[track_caller]
    fn check(filter: &str, topic: &str, expected: bool) {
        let parsed: Filter = filter.parse().unwrap();
        assert_eq!(parsed.matches(topic), expected, "{filter} matches {topic}");
    }
    check("a/b", "a/b", true);
    check("a/b", "a/B", false);
    check("a/b", "a/b/", false);
    check("a/b", "a", false);
    check("a/+", "a/b", true);
    check("a/+", "a/", true);
    check("a/+", "a", false);
    check("a/+", "a/b/c", false);
    check("+/b", "/b", true);
    check("+/+", "/", true);
    check("a/+/c", "a/b/c", true);
    check("a/#", "a", true);
    check("a/#", "a/", true);
    check("a/#", "a/b/c", true);
    check("a/#", "ab", false);
    check("a/+/#", "a", false);
    check("#", "a/b", true);
    check("#", "$SYS/a", false);
    check("+/a", "$SYS/a", false);
    check("$SYS/#", "$SYS/a", true);
    check(
        "$iothub/methods/POST/#",
        "$iothub/methods/POST/reboot/?$rid=1",
        true,
    );
    check(
        "$iothub/twin/res/#",
        "$iothub/methods/POST/reboot/?$rid=1",
        false,
    );
    check("a/#", "a/$b", true);
    check("#", "ü", true);
    check("+", "ü", true);
    check("a", "", false);
}

#[test]
fn refuses_what_is_no_filter() {
    #[track_caller]
    fn check(text: &str, expected: FilterError) {
        assert_eq!(text.parse::<Filter>(), Err(expected), "{text}");
    }
    check("", FilterError::Empty);
    check("a\0", FilterError::Null);
    check("a#", FilterError::Wildcard);
    check("#/a", FilterError::Wildcard);
    check("a/#/b", FilterError::Wildcard);
    check("a+/b", FilterError::Wildcard);
    check("++", FilterError::Wildcard);
    check(&"a".repeat(65536), FilterError::Length);
    assert!("a".repeat(65535).parse::<Filter>().is_ok());
}

proptest! {
    #[test]
    fn parsing_inverts_printing(text in "[a-c+#/$é]{1,12}") {
        if let Ok(filter) = text.parse::<Filter>() {
            prop_assert_eq!(filter.to_string().parse(), Ok(filter));
        }
    }

    #[test]
    fn a_topic_matches_itself_and_everything_above(topic in "[a-cé]{0,3}(/[a-cé$]{0,3}){0,4}") {
        prop_assume!(!topic.is_empty());
        prop_assert!(topic.parse::<Filter>().unwrap().matches(&topic));
        prop_assert!("#".parse::<Filter>().unwrap().matches(&topic));
        let pluses = vec!["+"; topic.split('/').count()].join("/");
        prop_assert!(pluses.parse::<Filter>().unwrap().matches(&topic));
        for (index, _) in topic.match_indices('/') {
            let above = format!("{}/#", &topic[..index]);
            prop_assert!(above.parse::<Filter>().unwrap().matches(&topic), "{} {}", above, topic);
        }
    }

    #[test]
    fn nothing_panics(filter in "\\PC{0,20}|[+#/$é]{0,9}", topic in "\\PC{0,20}|[+#/$é]{0,9}") {
        if let Ok(filter) = filter.parse::<Filter>() {
            let _ = filter.matches(&topic);
        }
    }
}
