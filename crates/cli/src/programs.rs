//! The programs that the user says where to find.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Where nginx is looked for beside `PATH`: distributions keep it out of the `PATH` of ordinary users.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Refuses a `--bin` that is no directory.
pub(crate) fn directories(search: &[PathBuf]) -> Result<(), Failure> {
    match search.iter().find(|directory| !directory.is_dir()) {
        Some(absent) => Err(Failure::new(format!("--bin {}: there is no such directory", absent.display()))),
        None => Ok(()),
    }
}

/// The nginx that `--nginx` names, else the one that is installed.
pub(crate) fn nginx(given: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    match given {
        Some(nginx) if nginx.is_file() => Ok(Some(nginx)),
        Some(nginx) => Err(Failure::new(format!("--nginx {}: there is no such file", nginx.display()))),
        None => Ok(find_nginx(env::var_os("PATH").as_deref())),
    }
}

fn find_nginx(path: Option<&OsStr>) -> Option<PathBuf> {
    let on_path = path.map(env::split_paths).into_iter().flatten();
    let directories = on_path.chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from));
    directories
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("nginx"))
        .find(|p| is_program(p))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nginx_is_found_where_it_can_be_executed() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (directory, mode) in [(&one, 0o644), (&two, 0o755)] {
            let file = directory.path().join("nginx");
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = env::join_paths([Path::new("relative"), one.path(), two.path()]).unwrap();
        assert_eq!(find_nginx(Some(&path)), Some(two.path().join("nginx")));
    }
}
