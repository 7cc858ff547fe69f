//! Images: what the Dockerfile makes, and what the manifests run.

use super::files::{container, document, text};

const PROGRAMS: [&str; 3] = ["herd-node", "herd-gateway", "herd-cli"];

#[test]
fn each_program_has_an_image_that_runs_it_as_nobody() {
    let dockerfile = text("Dockerfile");
    for program in PROGRAMS {
        let start = dockerfile.find(&format!(" AS {program}\n")).expect(program);
        let stage = &dockerfile[start + 4..];
        let stage = &stage[..stage.find("\nFROM ").unwrap_or(stage.len())];
        for line in [
            format!("COPY --from=build /out/{program} /usr/local/bin/{program}"),
            "USER 65532:65532".into(),
            format!("ENTRYPOINT [\"/usr/local/bin/{program}\"]"),
            format!("org.opencontainers.image.title=\"{program}\""),
        ] {
            assert!(stage.contains(&line), "{program}: no {line:?}");
        }
        let version = format!("ARG VERSION={}", env!("CARGO_PKG_VERSION"));
        assert!(stage.contains(&version), "{program}: {version}");
    }
}

#[test]
fn the_build_gets_every_member_of_the_workspace() {
    let manifest = std::fs::read_to_string(super::files::deploy().join("../Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let ignored = std::fs::read_to_string(super::files::deploy().join("../.dockerignore")).unwrap();
    for member in manifest["workspace"]["members"].as_array().unwrap() {
        let kept = format!("!{}", member.as_str().unwrap());
        assert!(ignored.lines().any(|line| line == kept), ".dockerignore leaves out {member}");
    }
}

#[test]
fn manifests_run_this_version_and_production_goes_by_digest() {
    for (path, program) in
        [("base/node/statefulset.yaml", "herd-node"), ("base/herd/gateway.yaml", "herd-gateway")]
    {
        assert_eq!(container(&document(path))["image"], program);
    }
    for overlay in ["base", "overlays/local", "overlays/production"] {
        let kustomization = document(&format!("{overlay}/kustomization.yaml"));
        for image in kustomization["images"].as_array().unwrap() {
            let program = image["name"].as_str().unwrap();
            assert!(PROGRAMS.contains(&program));
            if overlay == "overlays/production" {
                let digest = image["digest"].as_str().unwrap();
                assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
            } else {
                assert_eq!(image["newTag"], env!("CARGO_PKG_VERSION"), "{overlay}: {program}");
            }
        }
    }
}
