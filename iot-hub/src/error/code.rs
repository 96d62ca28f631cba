//! The documented error codes.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// A documented error code of the hub. Its first three digits are the HTTP status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl ErrorCode {
            /// Every code, by rising number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name in the header and in style A.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

codes! {
    /// The request is wrong in a way that has no code of its own.
    GenericBadRequest = 400_000,
    /// The version of the API is missing or unknown.
    InvalidProtocolVersion = 400_001,
    /// The number of devices asked for is out of range.
    DeviceInvalidResultCount = 400_002,
    /// The operation is not valid here.
    InvalidOperation = 400_003,
    /// A value is not valid; also for a twin patch over MQTT.
    ArgumentInvalid = 400_004,
    /// A value is missing.
    ArgumentNull = 400_005,
    /// A token or JSON is malformed.
    IotHubFormatError = 400_006,
    /// A device cannot be stored.
    DeviceStorageEntitySerializationError = 400_007,
    /// The container of an import or export cannot be used.
    BlobContainerValidationError = 400_008,
    /// An earlier import left warnings.
    ImportWarningExistsError = 400_009,
    /// The version of a schema is unknown.
    InvalidSchemaVersion = 400_010,
    /// A bulk request names a device twice.
    DeviceDefinedMultipleTimes = 400_011,
    /// A body cannot be read.
    DeserializationError = 400_012,
    /// Some entries of a bulk request failed.
    BulkRegistryOperationFailure = 400_013,
    /// A newer connection of the same device took over.
    ConnectionForcefullyClosedOnNewConnection = 400_027,
    /// The scope of a device is not valid.
    InvalidDeviceScope = 400_028,
    /// A module cannot own a module.
    CannotRegisterModuleToModule = 400_301,
    /// The token is for another hub.
    IotHubNotFound = 401_001,
    /// The token is bad or does not permit the operation.
    IotHubUnauthorizedAccess = 401_002,
    /// The device cannot be authenticated.
    IotHubUnauthorized = 401_003,
    /// The hub is suspended.
    IotHubSuspended = 403_001,
    /// The daily quota of messages is used up.
    IotHubQuotaExceeded = 403_002,
    /// Too many jobs.
    JobQuotaExceeded = 403_003,
    /// Too many messages wait for the device.
    DeviceMaximumQueueDepthExceeded = 403_004,
    /// Too many tokens on one AMQP connection.
    IotHubMaxCbsTokenExceeded = 403_005,
    /// The tier of the hub does not offer the operation.
    OperationNotAvailableInCurrentTier = 403_010,
    /// The device is disabled.
    DeviceDisabled = 403_012,
    /// Too many method calls wait for the device's answer.
    DeviceMaximumInflightMethodExceeded = 403_800,
    /// There is no such device.
    DeviceNotFound = 404_001,
    /// There is no such job.
    JobNotFound = 404_002,
    /// There is no such module.
    ModuleNotFound = 404_010,
    /// The device exists and is not connected, or takes no methods.
    DeviceNotOnline = 404_103,
    /// The device's connection was lost.
    DeviceConnectionClosedRemotely = 404_104,
    /// The resource has no such HTTP method.
    MethodNotAllowed = 405_000,
    /// There is such a device already.
    DeviceAlreadyExists = 409_001,
    /// A second connection of the same device.
    LinkCreationConflict = 409_002,
    /// There is such a job already.
    JobAlreadyExists = 409_103,
    /// There is such a job for the device already.
    DeviceJobAlreadyExists = 409_104,
    /// There is such a module already.
    ModuleAlreadyExistsOnDevice = 409_301,
    /// The entity tag or version is not the current one.
    PreconditionFailed = 412_001,
    /// The lock on a message has ended.
    DeviceMessageLockLost = 412_002,
    /// The message is too large.
    MessageTooLarge = 413_001,
    /// Too many devices.
    TooManyDevices = 413_002,
    /// Too many modules of one device.
    TooManyModulesOnDevice = 413_003,
    /// Too many requests.
    GenericTooManyRequests = 429_000,
    /// Too many requests of this kind.
    ThrottlingException = 429_001,
    /// Too many requests wait because of throttling.
    ThrottleBacklogLimitExceeded = 429_002,
    /// The request waited too long because of throttling.
    ThrottlingBacklogTimeout = 429_003,
    /// Too many active jobs.
    ThrottlingMaxActiveJobCountExceeded = 429_004,
    /// Too many requests of one device.
    DeviceThrottlingLimitExceeded = 429_005,
    /// The hub failed.
    ServerError = 500_001,
    /// The job was cancelled.
    JobCancelled = 500_002,
    /// The hub's throttling is set up wrongly.
    InvalidThrottleParameter = 500_009,
    /// The hub is not available.
    ServiceUnavailable = 503_001,
    /// The hub does not find the device's partition.
    PartitionNotFound = 503_003,
    /// The hub is busy.
    ServerBusy = 503_005,
    /// The device went away while its answer was awaited.
    DeviceUnavailable = 503_102,
    /// The device did not answer in time; it may have acted.
    GatewayTimeout = 504_101,
}

impl ErrorCode {
    /// The number in style B and over MQTT.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The HTTP status that comes with it.
    pub fn http_status(self) -> u16 {
        u16::try_from(self.number() / 1000).expect("codes have six digits")
    }

    /// Finds a code by its number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.number() == number)
    }

    /// Finds a code by its name, without regard to case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.name().eq_ignore_ascii_case(name))
    }
}
