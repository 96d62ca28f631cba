//! The local devices of a world.

/// How a local device behaves when it is told to reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
    /// Acknowledges, reboots, comes back healthy.
    WellBehaved,
    /// Acknowledges and does nothing.
    AckAndNothing,
    /// Reboots without a word.
    NoAck,
    /// Reboots, and once more by itself.
    Twice,
    /// Drops its connection, leaves a stale retained "online", does not reboot.
    StaleOnline,
    /// Comes back with a failing health check.
    Unhealthy,
    /// Never comes back.
    NeverReturns,
    /// Boots so fast that nobody sees it absent.
    Instant,
    /// Goes away and comes back with the boot identity it had.
    RestartSameBoot,
    /// Says no.
    Refuses,
    /// Acknowledges and does nothing, until it is told to reboot by force.
    HeedsForce,
}

impl Behavior {
    /// The name on the local device's command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::WellBehaved => "well-behaved",
            Self::AckAndNothing => "ack-and-nothing",
            Self::NoAck => "no-ack",
            Self::Twice => "twice",
            Self::StaleOnline => "stale-online",
            Self::Unhealthy => "unhealthy",
            Self::NeverReturns => "never-returns",
            Self::Instant => "instant",
            Self::RestartSameBoot => "restart-same-boot",
            Self::Refuses => "refuses",
            Self::HeedsForce => "heeds-force",
        }
    }
}
