//! Hand-made output; that of the installed ssh is in `tests/remote_settings.rs`.

use super::{AddressFamily, IdentityAgent, Local, Settings, StrictHostKeyChecking};
use crate::remote::target::Target;
use proptest::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

fn local() -> Local {
    Local {
        name: "bob".into(),
        home: "/home/Bob Doe".into(),
        uid: 1000,
        variable: |name| (name == "KEYS").then(|| "/keys~%h".into()),
    }
}

fn target() -> Target {
    Target::new(None, "web", None).unwrap()
}

fn parsed(text: &str) -> Settings {
    Settings::parse(text, &target(), &local()).unwrap_or_else(|error| panic!("{error}"))
}

fn paths(list: &[&str]) -> Vec<PathBuf> {
    list.iter().map(PathBuf::from).collect()
}

#[test]
fn nothing_said_is_the_defaults() {
    let defaults = Settings::defaults(&target(), &local());
    assert_eq!(parsed(""), defaults);
    assert_eq!(parsed("addkeystoagent false\nbatchmode unset\n\nhostname2 x\nalone\n"), defaults);
    assert_eq!((defaults.user.as_str(), defaults.port), ("bob", 22));
    assert_eq!(defaults.identity_files[3], PathBuf::from("/home/Bob Doe/.ssh/id_ed25519"));
    assert_eq!(
        defaults.global_known_hosts,
        paths(&["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"])
    );
}

#[test]
fn values_in_all_their_spellings() {
    use StrictHostKeyChecking::{AcceptNew, Ask, No, Yes};
    for (value, meant) in [
        ("true", Yes),
        ("yes", Yes),
        ("false", No),
        ("off", No),
        ("ask", Ask),
        ("accept-new", AcceptNew),
    ] {
        let settings = parsed(&format!("stricthostkeychecking {value}\n"));
        assert_eq!(settings.strict_host_key_checking, meant);
    }
    for (value, meant) in
        [("unbound", true), ("host-bound", true), ("true", true), ("false", false)]
    {
        assert_eq!(parsed(&format!("pubkeyauthentication {value}")).pubkey_authentication, meant);
    }
    for (value, meant) in [("none", None), ("0", None), ("9", Some(Duration::from_secs(9)))] {
        assert_eq!(parsed(&format!("connecttimeout {value}")).connect_timeout, meant);
    }
    let settings =
        parsed("challengeresponseauthentication no\naddressfamily inet\nproxyjump none\n");
    assert!(!settings.kbd_interactive_authentication && settings.proxy_jump.is_none());
    assert_eq!(settings.address_family, AddressFamily::Inet);
}

#[test]
fn the_agents_place() {
    let agent = |value: &str| parsed(&format!("identityagent {value}")).identity_agent;
    assert_eq!(agent("none"), IdentityAgent::Off);
    assert_eq!(agent("none").socket(), None);
    assert_eq!(agent("SSH_AUTH_SOCK"), IdentityAgent::Variable("SSH_AUTH_SOCK".into()));
    assert_eq!(agent("$MY_SOCK"), IdentityAgent::Variable("MY_SOCK".into()));
    assert_eq!(IdentityAgent::Variable("NOT_SET_ANYWHERE".into()).socket(), None);
    let socket = agent("~/a b.sock").socket();
    assert_eq!(socket, Some(PathBuf::from("/home/Bob Doe/a b.sock")));
}

#[test]
fn paths_are_expanded_as_openssh_does() {
    let text = "identityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/id_dsa\nidentityfile none\n\
        identityfile %d/%u/%r/%h/%n/%p/%k/%i/100%%d\nidentityfile ${KEYS}/$x\nidentityfile ~\n\
        identityfile ~//id_dsa\nidentityfile rel/a b\n\
        hostname www\nuser eve\nport 2\nhostkeyalias other\n";
    let expected = [
        "/home/Bob Doe/.ssh/id_rsa",
        "/home/Bob Doe/bob/eve/www/web/2/other/1000/100%d",
        "/keys~%h/$x",
        "/home/Bob Doe/",
        "/home/Bob Doe/id_dsa",
        "rel/a b",
    ];
    assert_eq!(parsed(text).identity_files, paths(&expected));
    assert_eq!(parsed("identityfile none\n").identity_files, paths(&[]));
}

#[test]
fn known_hosts_files_of_one_line() {
    let files = |value: &str| parsed(&format!("userknownhostsfile {value}")).user_known_hosts;
    assert_eq!(files("none"), paths(&[]));
    assert_eq!(
        files("/home/Bob Doe/.ssh/known_hosts /home/Bob Doe/.ssh/known_hosts2"),
        paths(&["/home/Bob Doe/.ssh/known_hosts", "/home/Bob Doe/.ssh/known_hosts2"])
    );
    // As ssh 7 printed them; a percent sign in what ssh has expanded is one.
    assert_eq!(files("~/.ssh/kh /100%h"), paths(&["/home/Bob Doe/.ssh/kh", "/100%h"]));
}

#[test]
fn what_cannot_be_understood_is_not_guessed() {
    for text in [
        "port 0",
        "port 65536",
        "port ssh",
        "batchmode maybe",
        "stricthostkeychecking perhaps",
        "addressfamily inet4",
        "connecttimeout -1",
        "identityagent $a-b",
        "identityagent $",
        "identityfile ~eve/key",
        "identityfile /%C",
        "identityfile /%",
        "identityfile /${KEYS",
        "identityfile /${OTHER}",
        "userknownhostsfile ~eve/kh",
    ] {
        let error = Settings::parse(text, &target(), &local()).expect_err(text).to_string();
        let key = text.split(' ').next().unwrap();
        assert!(error.starts_with(&format!("ssh -G: {key} '")), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        text in ".{0,200}",
        key in prop::sample::select(vec![
            "identityfile", "userknownhostsfile", "identityagent", "port", "connecttimeout",
        ]),
        value in "[~/%${} a-zé]{0,12}",
    ) {
        let _ = Settings::parse(&text, &target(), &local());
        let _ = Settings::parse(&format!("{key} {value}"), &target(), &local());
    }
}
