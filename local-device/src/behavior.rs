//! What a device does when it is told to reboot. Each of these has been seen in the field.

use clap::ValueEnum;

/// What a device does when it is told to reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Behavior {
    /// Acknowledges, says goodbye, reboots, names the cause of its new boot and reports good health.
    WellBehaved,
    /// Acknowledges and does nothing: the lying device.
    AckAndNothing,
    /// Reboots at once and acknowledges nothing; its connection just breaks.
    NoAck,
    /// As well-behaved, and then its watchdog bites shortly after that boot: it boots twice.
    Twice,
    /// Acknowledges, leaves without its last will, and comes back to the network without booting
    /// its application: it says `online`, and its retained birth is the old one.
    StaleOnline,
    /// As well-behaved, and its health check fails from then on.
    Unhealthy,
    /// Acknowledges, says goodbye and stays dark.
    NeverReturns,
    /// As well-behaved, but it is not dark for any time: it is back as fast as a process starts.
    Instant,
    /// Restarts its agent only: it goes away and comes back in the same boot, and echoes the
    /// command all the same.
    RestartSameBoot,
    /// Answers that it will not.
    Refuses,
    /// Acknowledges and does nothing, until it is told to reboot by force.
    HeedsForce,
}

impl Behavior {
    /// The device stays in the boot it is in when it leaves for a reboot.
    pub(crate) fn keeps_boot(self) -> bool {
        self == Self::RestartSameBoot
    }

    /// The device stays dark once it left for a reboot.
    pub(crate) fn stays_dark(self) -> bool {
        self == Self::NeverReturns
    }

    /// The broker is not to speak for the device when its connection breaks.
    pub(crate) fn has_will(self) -> bool {
        self != Self::StaleOnline
    }
}
