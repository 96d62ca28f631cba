//! The files of `deploy/` fit the service: it takes their settings and arguments, and ports, probes,
//! secrets and folders are those that it really uses. `cargo xtask deploy` has their form checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use iothubdm_tests::binary;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use serde_yaml_ng::Deserializer;
use toml::Table;

const HUB: &str = "HostName=h.example;SharedAccessKeyName=service;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Where the service says whether it can work, and whether it lives. A hub that is away changes the
/// former, and is no reason to start again.
const READINESS: &str = "/readyz";
const LIVENESS: &str = "/healthz";

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML file, by their kinds.
fn manifests(file: &str) -> BTreeMap<String, Value> {
    let text = read(file);
    Deserializer::from_str(&text)
        .map(|document| {
            let manifest: Value = serde::Deserialize::deserialize(document).expect("read YAML");
            (text_of(&manifest["kind"]).to_owned(), manifest)
        })
        .collect()
}

#[track_caller]
fn text_of(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Has the service check settings that name files below these folders, which are elsewhere here.
fn check_settings(settings: &str, arguments: &[&str], moved: &[(&str, &Path)]) {
    let folder = tempfile::tempdir().expect("make a folder");
    let config = folder.path().join("mgmt-service.toml");
    let settings = moved.iter().fold(settings.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "nothing below {from} in {text}");
        text.replace(from, to.to_str().expect("a path that is a text"))
    });
    fs::write(&config, settings).expect("write settings");
    let output = Command::new(binary("mgmt-service"))
        .args(arguments.iter().map(|argument| match *argument {
            "/etc/iothub-dm/mgmt-service.toml" => config.clone(),
            other => PathBuf::from(other),
        }))
        .arg("--check-config")
        .output()
        .expect("run the service");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
}

/// Writes a certificate, its key and their authority, as cert-manager names them.
fn write_certificates(folder: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("make a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("make an authority");
    let params = CertificateParams::new(["mgmt-service".to_owned()]).expect("name a service");
    let key = KeyPair::generate().expect("make a key");
    let certificate = params.signed_by(&key, &authority).expect("sign");
    for (file, text) in [
        ("ca.crt", authority.pem()),
        ("tls.crt", certificate.pem()),
        ("tls.key", key.serialize_pem()),
    ] {
        fs::write(folder.join(file), text).expect("write a certificate");
    }
}

/// The files that settings name as secrets, in the section and the key that they are under.
fn secret_files(settings: &Table) -> Vec<&str> {
    settings
        .values()
        .filter_map(toml::Value::as_table)
        .flatten()
        .filter(|(key, _)| key.ends_with("_file"))
        .filter_map(|(_, file)| file.as_str())
        .collect()
}

/// The values of a unit's setting.
fn unit_values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

#[test]
fn the_unit_starts_the_service_with_its_settings() {
    let unit = read("systemd/mgmt-service.service");
    let settings = read("systemd/mgmt-service.toml");
    let table: Table = settings.parse().expect("read the settings");

    let [command] = unit_values(&unit, "ExecStart")[..] else {
        panic!("one command")
    };
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("/usr/local/bin/mgmt-service"));

    // Each file of the folder becomes a credential `secret_…` of the unit.
    let secrets = tempfile::tempdir().expect("make a folder");
    assert_eq!(
        unit_values(&unit, "LoadCredential"),
        ["secret:/etc/iothub-dm/credentials"]
    );
    let credentials = "/run/credentials/mgmt-service.service/";
    for file in secret_files(&table) {
        let name = file.strip_prefix(credentials).expect("a credential");
        assert!(name.starts_with("secret_"), "{name}");
        fs::write(secrets.path().join(name), HUB).expect("write a secret");
    }
    let with_slash = secrets.path().join("");
    let arguments: Vec<_> = words.collect();
    check_settings(&settings, &arguments, &[(credentials, &with_slash)]);

    let [state] = unit_values(&unit, "StateDirectory")[..] else {
        panic!("one folder of state")
    };
    let store = table["store"]["path"].as_str().expect("a path");
    assert!(
        Path::new(store).starts_with(Path::new("/var/lib").join(state)),
        "{store} is where the service cannot write"
    );
    // READY=1 is sent by every program of ours.
    assert_eq!(unit_values(&unit, "Type"), ["notify"]);
}

#[test]
fn the_pod_runs_the_service_with_its_settings() {
    let manifests = manifests("kubernetes/mgmt-service.yaml");
    let secret = &self::manifests("kubernetes/secret.example.yaml")["Secret"];
    let set = &manifests["StatefulSet"]["spec"];
    let pod = &set["template"]["spec"];
    let container = &pod["containers"][0];
    let settings = text_of(&manifests["ConfigMap"]["data"]["mgmt-service.toml"]);
    let table: Table = settings.parse().expect("read the settings");

    // Where each volume is, and whether it can be written to.
    let mounts: BTreeMap<_, _> = container["volumeMounts"]
        .as_array()
        .expect("mounts")
        .iter()
        .map(|mount| (text_of(&mount["name"]), mount))
        .collect();
    let path = |volume: &str| text_of(&mounts[volume]["mountPath"]);
    assert_eq!(path("settings"), "/etc/iothub-dm");
    let store = table["store"]["path"].as_str().expect("a path");
    assert!(Path::new(store).starts_with(path("store")), "{store}");
    assert_eq!(mounts["store"]["readOnly"], Value::Null);
    assert_eq!(set["volumeClaimTemplates"][0]["metadata"]["name"], "store");

    // Every secret that the settings name is a key of its Secret, and the other way round.
    let secrets = format!("{}/", path("secrets"));
    let certificates = format!("{}/", path("certificates"));
    let below = |folder: &str| -> Vec<_> {
        let files = secret_files(&table).into_iter();
        files.filter_map(|file| file.strip_prefix(folder)).collect()
    };
    let keys = secret["stringData"].as_object().expect("keys").keys();
    assert_eq!(below(&secrets), keys.collect::<Vec<_>>());
    // As cert-manager names them.
    assert_eq!(
        BTreeSet::from_iter(below(&certificates)),
        BTreeSet::from(["ca.crt", "tls.crt", "tls.key"])
    );
    let volumes = pod["volumes"].as_array().expect("volumes");
    let secret_of = |name: &str| {
        let volume = volumes.iter().find(|volume| volume["name"] == name);
        &volume.expect("a volume")["secret"]["secretName"]
    };
    assert_eq!(secret_of("secrets"), &secret["metadata"]["name"]);
    assert_eq!(secret_of("certificates"), "mgmt-service-tls");
    let here = tempfile::tempdir().expect("make a folder");
    fs::write(here.path().join("hub"), HUB).expect("write a secret");
    write_certificates(here.path());
    let here = here.path().join("");
    let moved = [(secrets.as_str(), here.as_path()), (&certificates, &here)];

    let arguments: Vec<_> = container["args"]
        .as_array()
        .expect("arguments")
        .iter()
        .map(text_of)
        .collect();
    check_settings(settings, &arguments, &moved);
}

#[test]
fn the_ports_and_probes_are_those_of_the_service() {
    let manifests = manifests("kubernetes/mgmt-service.yaml");
    let pod = &manifests["StatefulSet"]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let settings = text_of(&manifests["ConfigMap"]["data"]["mgmt-service.toml"]);
    let table: Table = settings.parse().expect("read the settings");
    let port = |address: &str| -> Value {
        let (_, port) = address.rsplit_once(':').expect("a port");
        port.parse::<u16>().expect("a port").into()
    };
    let grpc = port(table["listen"].as_str().expect("an address"));

    let ports: BTreeMap<_, _> = container["ports"]
        .as_array()
        .expect("ports")
        .iter()
        .map(|port| (text_of(&port["name"]), &port["containerPort"]))
        .collect();
    assert_eq!(ports["grpc"], &grpc);
    let service = &manifests["Service"]["spec"]["ports"][0];
    assert_eq!(
        (&service["port"], &service["targetPort"]),
        (&grpc, &"grpc".into())
    );
    let metrics = port(table["metrics"]["listen"].as_str().expect("an address"));
    assert_eq!(ports["metrics"], &metrics);
    let allowed = &manifests["NetworkPolicy"]["spec"]["ingress"];
    assert_eq!(allowed[0]["ports"][0]["port"], "grpc");
    assert_eq!(allowed[1]["ports"][0]["port"], "metrics");

    for (probe, path) in [("readinessProbe", READINESS), ("livenessProbe", LIVENESS)] {
        let get = &container[probe]["httpGet"];
        assert_eq!(
            (&get["port"], &get["path"]),
            (&"metrics".into(), &path.into())
        );
    }

    // All of them mean the same pods.
    let labels = &manifests["StatefulSet"]["spec"]["template"]["metadata"]["labels"];
    for selector in [
        &manifests["StatefulSet"]["spec"]["selector"]["matchLabels"],
        &manifests["Service"]["spec"]["selector"],
        &manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        &manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    // The store is one file.
    assert_eq!(manifests["StatefulSet"]["spec"]["replicas"], 1);
}

#[test]
fn the_image_is_what_the_pod_expects() {
    let containerfile = read("container/Containerfile");
    let manifests = manifests("kubernetes/mgmt-service.yaml");
    let pod = &manifests["StatefulSet"]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let line = |instruction: &str| {
        containerfile
            .lines()
            .rfind(|line| line.starts_with(instruction))
            .unwrap_or_else(|| panic!("no {instruction}"))
    };

    let user = &pod["securityContext"]["runAsUser"];
    let group = &pod["securityContext"]["runAsGroup"];
    assert_eq!(line("USER "), format!("USER {user}:{group}"));
    assert_ne!(user, &Value::from(0));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"]["drop"][0], "ALL");

    let arguments = container["args"].to_string();
    let default: Value =
        serde_json::from_str(line("CMD ").trim_start_matches("CMD ")).expect("a list of arguments");
    assert_eq!(default.to_string(), arguments);
    assert_eq!(
        line("ENTRYPOINT "),
        "ENTRYPOINT [\"/usr/bin/mgmt-service\"]"
    );
    assert_eq!(
        line("EXPOSE "),
        format!(
            "EXPOSE {} {}",
            container["ports"][0]["containerPort"], container["ports"][1]["containerPort"]
        )
    );
    for program in ["mgmt-service", "dmctl"] {
        assert!(
            line("RUN ").contains(&format!("--package {program}")),
            "{program}"
        );
        assert!(
            line("COPY --from").contains(&format!("release/{program} ")),
            "{program}"
        );
    }

    let version = env!("CARGO_PKG_VERSION");
    let image = text_of(&container["image"]);
    assert!(image.ends_with(&format!(":{version}")), "{image}");
    // The toolchain of the image is ours.
    let toolchain = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .expect("read the workspace");
    let toolchain: Table = toolchain.parse().expect("read the workspace");
    let rust = toolchain["workspace"]["package"]["rust-version"].as_str();
    let rust = rust.expect("a version");
    assert!(containerfile.contains(&format!("/rust:{rust}.")), "{rust}");
}
