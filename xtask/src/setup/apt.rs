//! What a package manager has: looked for by its files, so that any distribution will do, and installed with apt
//! where that is allowed without a question.
//!
//! Otherwise the exact command is printed and the setup fails: nothing half-works later.

use std::{env, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::run;

/// A package and what shows that it is there.
struct Package {
    name: &'static str,
    shown_by: Sign,
}

enum Sign {
    Program(&'static str),
    File(&'static str),
}

const fn program(name: &'static str, program: &'static str) -> Package {
    Package {
        name,
        shown_by: Sign::Program(program),
    }
}

/// To lay out networks and look at them.
const NETWORK: [Package; 7] = [
    program("iproute2", "ip"),
    program("nftables", "nft"),
    program("conntrack", "conntrack"),
    program("wireguard-tools", "wg"),
    program("iputils-ping", "ping"),
    program("iperf3", "iperf3"),
    program("util-linux", "nsenter"),
];

/// To run containers, above all the plugins that give pods their networks, and to ask them something.
const CLUSTER: [Package; 3] = [
    Package {
        name: "containernetworking-plugins",
        shown_by: Sign::File("/usr/lib/cni/bridge"),
    },
    program("procps", "sysctl"),
    program("curl", "curl"),
];

/// To build runc.
const RUNC: [Package; 3] = [
    Package {
        name: "libseccomp-dev",
        shown_by: Sign::File("/usr/include/seccomp.h"),
    },
    program("gcc", "gcc"),
    program("pkg-config", "pkg-config"),
];

/// To build the test kernel.
const KERNEL: [Package; 10] = [
    Package {
        name: "linux-source-6.12",
        shown_by: Sign::File(super::kernel::SOURCE),
    },
    Package {
        name: "libelf-dev",
        shown_by: Sign::File("/usr/include/libelf.h"),
    },
    program("flex", "flex"),
    program("bison", "bison"),
    program("bc", "bc"),
    program("gcc", "gcc"),
    program("make", "make"),
    program("xz-utils", "xz"),
    program("patch", "patch"),
    program("binutils", "strip"),
];

/// What packages are needed for.
#[derive(Clone, Copy)]
pub enum Use {
    /// Networks are set up.
    Networks,
    /// Containers are run.
    Containers,
    /// The test kernel is built.
    Kernel,
    /// runc is built.
    Runc,
}

/// Installs what is missing of the packages that are needed.
pub fn ensure(uses: &[Use]) -> Result<()> {
    let list = |one: &Use| -> &[Package] {
        match one {
            Use::Networks => &NETWORK,
            Use::Containers => &CLUSTER,
            Use::Kernel => &KERNEL,
            Use::Runc => &RUNC,
        }
    };
    let mut missing: Vec<&str> = uses
        .iter()
        .flat_map(list)
        .filter(|package| !package.is_there())
        .map(|package| package.name)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let prefix: &[&str] = if is_root() {
        &[]
    } else if works(Command::new("sudo").args(["-n", "true"])) {
        &["sudo", "-n"]
    } else {
        bail!("install these packages first: sudo apt-get install -y --no-install-recommends {list}")
    };
    if !on_path("apt-get") {
        bail!("install these packages (the names are Debian's) first: {list}");
    }
    println!("installing {list}");
    let apt = |words: &[&str]| {
        let words = [
            prefix,
            &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"],
            words,
        ]
        .concat();
        run::succeeds(Command::new(words[0]).args(&words[1..]))
    };
    // A failed update is told by apt itself; what is known already may be enough.
    apt(&["update"])?;
    if !apt(&[&["install", "-y", "--no-install-recommends"], missing.as_slice()].concat())? {
        bail!("apt-get could not install {list}");
    }
    Ok(())
}

impl Package {
    fn is_there(&self) -> bool {
        match self.shown_by {
            Sign::Program(program) => on_path(program),
            Sign::File(file) => Path::new(file).exists(),
        }
    }
}

fn on_path(program: &str) -> bool {
    // The administrator's folders are not on every user's path.
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    run::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
