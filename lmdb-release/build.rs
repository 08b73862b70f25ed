//! Tells the build scripts of those who depend on this crate that it is this one, and not the one
//! whose name it has.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::metadata=lock_version=1");
}
