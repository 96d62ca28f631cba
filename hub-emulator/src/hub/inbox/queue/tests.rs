//! The queue against a model that remembers what became of every message.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn push(inbox: &mut Inbox, number: u8, expires: i64, now: i64) -> Result<(), HubError> {
    let payload = Bytes::copy_from_slice(&[number]);
    inbox.push(PropertyBag::default(), payload, at(expires), at(now))
}

fn numbers(deliveries: &[Delivery]) -> Vec<u8> {
    deliveries.iter().map(|sent| sent.payload[0]).collect()
}

#[test]
fn an_unacknowledged_message_is_sent_ten_times_and_no_more() {
    let mut inbox = Inbox::default();
    push(&mut inbox, 1, 100, 0).unwrap();
    for delivery in 0..10 {
        let sent = inbox.deliver(Qos::AtLeastOnce, at(60), at(0));
        assert_eq!(numbers(&sent), [1]);
        assert_eq!(sent[0].duplicate, delivery > 0);
        // It is on its way: not again on the same connection.
        assert_eq!(inbox.deliver(Qos::AtLeastOnce, at(60), at(0)), []);
        inbox.interrupt();
    }
    assert_eq!(inbox.deliver(Qos::AtLeastOnce, at(60), at(0)), []);
    assert!(inbox.queue.is_empty());
}

#[test]
fn an_expired_message_makes_room_and_one_on_its_way_does_not_expire() {
    let mut inbox = Inbox::default();
    for number in 0..50 {
        push(&mut inbox, number, 10, 0).unwrap();
    }
    let refused = push(&mut inbox, 50, 10, 9).unwrap_err();
    assert_eq!(
        refused.code,
        Some(ErrorCode::DeviceMaximumQueueDepthExceeded)
    );
    push(&mut inbox, 51, 20, 10).unwrap();
    let sent = inbox.deliver(Qos::AtLeastOnce, at(71), at(11));
    assert_eq!(numbers(&sent), [51]);

    push(&mut inbox, 52, 40, 30).unwrap();
    inbox.acknowledge(sent[0].packet_id.unwrap());
    assert_eq!(
        numbers(&inbox.deliver(Qos::AtMostOnce, at(99), at(39))),
        [52]
    );
    assert!(inbox.queue.is_empty());
}

#[test]
fn packet_ids_go_round_without_zero_and_without_one_in_use() {
    let mut inbox = Inbox {
        last_packet_id: u16::MAX - 1,
        ..Inbox::default()
    };
    for number in 0..2 {
        push(&mut inbox, number, 10, 0).unwrap();
    }
    let sent = inbox.deliver(Qos::AtLeastOnce, at(60), at(0));
    let ids: Vec<_> = sent.iter().filter_map(|sent| sent.packet_id).collect();
    assert_eq!(ids, [u16::MAX, 1]);
    inbox.last_packet_id = u16::MAX - 1;
    assert_eq!(inbox.free_packet_id(), 2);
}

#[test]
fn what_is_not_acknowledged_in_a_minute_is_sent_again_and_told_after_ten_times() {
    let mut inbox = Inbox::default();
    push(&mut inbox, 1, 10_000, 0).unwrap();
    let mut ids = Vec::new();
    for delivery in 0..10 {
        let now = 60 * delivery;
        let sent = inbox.deliver(Qos::AtLeastOnce, at(now + 60), at(now));
        assert_eq!(numbers(&sent), [1]);
        ids.extend(sent[0].packet_id);
        assert_eq!(inbox.next_look(), Some(at(now + 60)));
        assert_eq!(
            inbox.deliver(Qos::AtLeastOnce, at(now + 119), at(now + 59)),
            []
        );
        // The lock of an earlier delivery is lost.
        if let [.., before, _] = *ids {
            inbox.acknowledge(before);
        }
    }
    assert_eq!(ids, (1..=10).collect::<Vec<_>>());
    inbox.look(at(599));
    assert_eq!(inbox.queue.len(), 1);
    inbox.look(at(600));
    assert_eq!((inbox.queue.len(), inbox.next_look()), (0, None));
    let outcomes: Vec<_> = inbox.gone.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes, [Outcome::DeliveryCountExceeded]);
}

#[derive(Clone, Debug)]
enum Step {
    Push,
    Deliver(Qos),
    /// Acknowledges the oldest, or a packet that does not exist.
    Acknowledge(bool),
    Interrupt,
    /// A minute passes.
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        7 => Just(Step::Push),
        3 => Just(Step::Deliver(Qos::AtLeastOnce)),
        1 => Just(Step::Deliver(Qos::AtMostOnce)),
        3 => any::<bool>().prop_map(Step::Acknowledge),
        2 => Just(Step::Interrupt),
        1 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 0..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nothing_is_lost_reordered_or_sent_after_it_was_taken(steps in steps()) {
        let mut inbox = Inbox::default();
        let mut next = 0_u8;
        let mut now = 0_i64;
        let mut taken = 0;
        // Number → times sent, of what neither the device took nor the limit removed.
        let mut open = BTreeMap::<u8, u8>::new();
        let mut in_flight = BTreeMap::<u8, u16>::new();
        for step in steps {
            match step {
                Step::Push => {
                    let room = open.len() < MAX_WAITING;
                    prop_assert_eq!(push(&mut inbox, next, 100_000, now).is_ok(), room);
                    if room {
                        open.insert(next, 0);
                        next += 1;
                    }
                }
                Step::Deliver(qos) => {
                    let sent = inbox.deliver(qos, at(now + 60), at(now));
                    let waiting: Vec<u8> =
                        open.keys().filter(|key| !in_flight.contains_key(key)).copied().collect();
                    prop_assert_eq!(numbers(&sent), waiting);
                    for delivery in sent {
                        let number = delivery.payload[0];
                        prop_assert_eq!(delivery.duplicate, open[&number] > 0);
                        match delivery.packet_id {
                            None => {
                                prop_assert_eq!(qos, Qos::AtMostOnce);
                                open.remove(&number);
                                taken += 1;
                            }
                            Some(id) => {
                                prop_assert!(id != 0 && !in_flight.values().any(|used| *used == id));
                                in_flight.insert(number, id);
                                *open.get_mut(&number).unwrap() += 1;
                            }
                        }
                    }
                }
                Step::Acknowledge(known) => match in_flight.first_key_value() {
                    Some((&number, &id)) if known => {
                        inbox.acknowledge(id);
                        in_flight.remove(&number);
                        open.remove(&number);
                        taken += 1;
                    }
                    _ => inbox.acknowledge(60_000),
                },
                Step::Interrupt | Step::Wait => {
                    if matches!(step, Step::Wait) {
                        now += 60;
                        inbox.look(at(now));
                    } else {
                        inbox.interrupt();
                    }
                    in_flight.clear();
                    open.retain(|_, deliveries| *deliveries < MAX_DELIVERIES);
                }
            }
            prop_assert_eq!(inbox.queue.len(), open.len());
            // Of each that went, it is said why.
            let of = |outcome| inbox.gone.iter().filter(|(_, gone)| *gone == outcome).count();
            prop_assert_eq!(of(Outcome::Success), taken);
            prop_assert_eq!(inbox.gone.len() + open.len(), usize::from(next));
        }
    }
}
