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
        let sent = inbox.deliver(Qos::AtLeastOnce, at(0));
        assert_eq!(numbers(&sent), [1]);
        assert_eq!(sent[0].duplicate, delivery > 0);
        // It is on its way: not again on the same connection.
        assert_eq!(inbox.deliver(Qos::AtLeastOnce, at(0)), []);
        inbox.interrupt();
    }
    assert_eq!(inbox.deliver(Qos::AtLeastOnce, at(0)), []);
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
    let sent = inbox.deliver(Qos::AtLeastOnce, at(11));
    assert_eq!(numbers(&sent), [51]);

    push(&mut inbox, 52, 40, 30).unwrap();
    inbox.acknowledge(sent[0].packet_id.unwrap());
    assert_eq!(numbers(&inbox.deliver(Qos::AtMostOnce, at(39))), [52]);
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
    let sent = inbox.deliver(Qos::AtLeastOnce, at(0));
    let ids: Vec<_> = sent.iter().filter_map(|sent| sent.packet_id).collect();
    assert_eq!(ids, [u16::MAX, 1]);
    inbox.last_packet_id = u16::MAX - 1;
    assert_eq!(inbox.free_packet_id(), 2);
}

#[derive(Clone, Debug)]
enum Step {
    Push,
    Deliver(Qos),
    /// Acknowledges the oldest, or a packet that does not exist.
    Acknowledge(bool),
    Interrupt,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        7 => Just(Step::Push),
        3 => Just(Step::Deliver(Qos::AtLeastOnce)),
        1 => Just(Step::Deliver(Qos::AtMostOnce)),
        3 => any::<bool>().prop_map(Step::Acknowledge),
        2 => Just(Step::Interrupt),
    ];
    prop::collection::vec(step, 0..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nothing_is_lost_reordered_or_sent_after_it_was_taken(steps in steps()) {
        let mut inbox = Inbox::default();
        let mut next = 0_u8;
        // Number → times sent, of what neither the device took nor the limit removed.
        let mut open = BTreeMap::<u8, u8>::new();
        let mut in_flight = BTreeMap::<u8, u16>::new();
        for step in steps {
            match step {
                Step::Push => {
                    let room = open.len() < MAX_WAITING;
                    prop_assert_eq!(push(&mut inbox, next, 100, 0).is_ok(), room);
                    if room {
                        open.insert(next, 0);
                        next += 1;
                    }
                }
                Step::Deliver(qos) => {
                    let sent = inbox.deliver(qos, at(0));
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
                    }
                    _ => inbox.acknowledge(60_000),
                },
                Step::Interrupt => {
                    inbox.interrupt();
                    in_flight.clear();
                    open.retain(|_, deliveries| *deliveries < MAX_DELIVERIES);
                }
            }
            prop_assert_eq!(inbox.queue.len(), open.len());
        }
    }
}
