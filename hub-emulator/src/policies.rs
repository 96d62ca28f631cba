//! The hub's shared access policies: who may do what with which key.

use std::collections::BTreeMap;

use iot_hub::sas::SharedKey;

use crate::hub::Keys;

/// What a policy may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    RegistryRead,
    RegistryWrite,
    ServiceConnect,
    DeviceConnect,
}

/// A named pair of keys with permissions.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: &'static str,
    pub(crate) keys: Keys,
    permissions: &'static [Permission],
}

/// The policies that every new hub has.
#[derive(Debug)]
pub(crate) struct Policies {
    policies: Vec<Policy>,
}

impl Policies {
    /// The policy that may do everything.
    pub(crate) const OWNER: &'static str = "iothubowner";
    /// The policy that a back-end service uses.
    pub(crate) const SERVICE: &'static str = "service";

    /// The default policies, with keys from `new_key`.
    pub(crate) fn new(mut new_key: impl FnMut() -> SharedKey) -> Self {
        use Permission::{DeviceConnect, RegistryRead, RegistryWrite, ServiceConnect};
        let mut policy = |name, permissions| Policy {
            name,
            keys: Keys {
                primary: new_key(),
                secondary: new_key(),
            },
            permissions,
        };
        let policies = vec![
            policy(
                Self::OWNER,
                &[RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect],
            ),
            policy(Self::SERVICE, &[ServiceConnect]),
            policy("device", &[DeviceConnect]),
            policy("registryRead", &[RegistryRead]),
            policy("registryReadWrite", &[RegistryRead, RegistryWrite]),
        ];
        Self { policies }
    }

    /// The keys of every policy.
    pub(crate) fn keys(&self) -> BTreeMap<String, Keys> {
        let keys = |policy: &Policy| (policy.name.to_owned(), policy.keys.clone());
        self.policies.iter().map(keys).collect()
    }

    /// Gives the policies these keys; one that is not named keeps its own.
    pub(crate) fn set_keys(&mut self, mut keys: BTreeMap<String, Keys>) {
        for policy in &mut self.policies {
            if let Some(keys) = keys.remove(policy.name) {
                policy.keys = keys;
            }
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.name == name)
    }
}

impl Policy {
    pub(crate) fn allows(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }
}
