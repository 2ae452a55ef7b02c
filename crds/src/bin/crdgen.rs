//! Generator of the CustomResourceDefinitions in `crds/`.

use std::{error::Error, fs, path::Path};

use mirrord_sessions_crds::manifest;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, crd) in manifest::all() {
        fs::write(folder.join(file), manifest::to_yaml(&crd)?)?;
        println!("crds/{file}");
    }
    Ok(())
}
