//! The package: which files it has, which compiler it asks for, and on what terms its dependencies are used.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Licences that go with this crate's own two.
const LICENCES: [&str; 8] =
    ["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unicode-3.0", "Zlib", "CC0-1.0"];

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(arguments)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The crates that an application builds for this one with all of its features, with the fields of their manifests.
fn dependencies() -> Vec<Value> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--package",
        "actix-hermod",
        "--all-features",
        "--edges",
        "normal,build",
        "--target",
        "all",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let named: Vec<_> = tree.lines().filter_map(|line| line.split_once(" v")).collect();
    let metadata = cargo(&["metadata", "--format-version", "1", "--locked"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages").iter();
    let is_named = |package: &&Value| {
        let has = |(name, version): &(&str, &str)| {
            package["name"] == *name && package["version"] == *version.split(' ').next().unwrap_or(version)
        };
        named.iter().any(has)
    };
    packages.filter(is_named).cloned().collect()
}

/// `1.88` and `1.88.0` as numbers.
fn version(text: &str) -> (u32, u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().expect("a number"));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// Whether one of the alternatives of an SPDX expression is allowed.
fn is_allowed(expression: &str) -> bool {
    let is_known = |licence: &str| LICENCES.contains(&licence.trim().trim_matches(['(', ')']));
    expression.split(" AND ").all(|part| part.split(" OR ").flat_map(|one| one.split('/')).any(is_known))
}

#[test]
fn no_dependency_wants_a_newer_compiler_than_the_package_says() {
    let all = dependencies();
    let own = all.iter().find(|package| package["name"] == "actix-hermod").expect("the package itself");
    let asked = version(own["rust_version"].as_str().expect("it says so"));
    assert!(all.len() > 30, "only {} dependencies were found", all.len());
    for package in all {
        let wanted = package["rust_version"].as_str().map_or((0, 0, 0), version);
        assert!(wanted <= asked, "{} {} wants {wanted:?}", package["name"], package["version"]);
    }
}

#[test]
fn every_dependency_may_be_used_on_terms_that_go_with_those_of_the_package() {
    for package in dependencies() {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_allowed(licence), "{} {} has the licence {licence:?}", package["name"], package["version"]);
    }
    assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0") && is_allowed("MIT/Apache-2.0"));
    assert!(!is_allowed("GPL-3.0-only") && !is_allowed("MIT AND GPL-3.0-only") && !is_allowed(""));
}

#[test]
fn the_package_has_the_sources_and_what_goes_with_them_and_nothing_else() {
    let listed = cargo(&["package", "--list", "--allow-dirty", "--offline", "--package", "actix-hermod"]);
    let mut others: Vec<_> = listed.lines().filter(|file| !file.starts_with("src/")).collect();
    others.retain(|file| !file.starts_with("examples/"));
    let made = [".cargo_vcs_info.json", "Cargo.lock", "Cargo.toml", "Cargo.toml.orig"];
    let ours = ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "SECURITY.md"];
    let unknown = |file: &&str| !made.contains(file) && !ours.contains(file);
    assert_eq!(others.iter().copied().filter(unknown).collect::<Vec<_>>(), Vec::<&str>::new());
    for file in ours.iter().chain(&["src/lib.rs", "examples/ping.rs"]) {
        assert!(listed.lines().any(|listed| listed == *file), "{file} is missing");
    }
    assert!(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/corpus/frames").is_dir(),
        "the package has no corpora"
    );
}
