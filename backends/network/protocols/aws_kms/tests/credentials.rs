//! Where credentials are found, when they are renewed, and what they never do: show themselves.

use std::{
    ffi::OsString,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ctk_token::{Result, TokenError};
use parking_lot::Mutex;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    Configuration, Service, Settings, Surroundings, Value,
    http::{Deadline, Response},
};

use super::{
    super::{
        credentials::{Chain, Credentials},
        places::Places,
        service::Kms,
        time::stamp,
    },
    world::{
        Asked, World, answer, configuration, failure, noon, reason, secret, settings, success,
        surroundings, text,
    },
};

fn find(settings: &Settings, surroundings: &Surroundings, world: &World) -> Result<Credentials> {
    Chain::new(settings, surroundings).find(world, Deadline::after(Duration::from_secs(60)))
}

fn nowhere() -> World {
    World::new(|_| Err(TokenError::TimedOut))
}

/// A home with these files in `.aws`.
struct Home(std::path::PathBuf);

impl Home {
    fn new(name: &str, config: &str, credentials: &str) -> Self {
        let home = std::env::temp_dir().join(format!("ctk-kms-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(home.join(".aws")).unwrap();
        std::fs::write(home.join(".aws/config"), config).unwrap();
        std::fs::write(home.join(".aws/credentials"), credentials).unwrap();
        Self(home)
    }

    fn surroundings(&self, variable: fn(&str) -> Option<OsString>) -> Surroundings {
        Surroundings {
            home: Some(self.0.clone()),
            ..surroundings(variable)
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const CREDENTIALS: &str = "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = s1\n\
    [ci]\naws_access_key_id = AKIDCICI\naws_secret_access_key = s2\naws_session_token = t2\n\
    [half]\naws_access_key_id = AKIDHALF\n";
const CONFIG: &str = "[profile tool]\ncredential_process = /bin/get 'x y'\naws_access_key_id = AKIDNEVER\n\
    aws_secret_access_key = s\n\
    [profile inline]\naws_access_key_id = AKIDINLINE\naws_secret_access_key = s3\n\
    [profile role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = default\n\
    [profile sso]\nsso_session = x\n[profile web]\nweb_identity_token_file = /x\n[profile login]\nlogin_session = x\n\
    [profile plain]\nregion = eu-west-3\n";

#[test]
fn the_nearest_place_counts() {
    let home = Home::new("nearest", CONFIG, CREDENTIALS);
    let silent = home.surroundings(|_| None);
    let named = |name: &str| settings([("profile", text(name))]);
    let id = |settings: &Settings, surroundings: &Surroundings| {
        find(settings, surroundings, &nowhere())
            .unwrap()
            .to_string()
    };
    let none = Settings::default();
    assert_eq!(
        id(&none, &silent),
        "access key …AULT from profile \"default\" of the credentials file"
    );
    assert_eq!(
        id(&named("ci"), &silent),
        "access key …CICI from profile \"ci\" of the credentials file"
    );
    assert_eq!(
        id(&named("inline"), &silent),
        "access key …LINE from profile \"inline\" of the config file"
    );
    let by_environment = home.surroundings(|name| match name {
        "AWS_PROFILE" => Some("inline".into()),
        _ => None,
    });
    assert!(id(&none, &by_environment).contains("inline"));
    assert!(id(&named("ci"), &by_environment).contains("\"ci\""));
    let with_keys = home.surroundings(|name| match name {
        "AWS_ACCESS_KEY_ID" => Some("AKIDENVIRONMENT".into()),
        "AWS_SECRET_ACCESS_KEY" => Some("s".into()),
        "AWS_SESSION_TOKEN" => Some("t".into()),
        "AWS_PROFILE" => Some("inline".into()),
        _ => None,
    });
    assert!(id(&none, &with_keys).contains("the environment"));
    // Somebody who names a profile means it.
    assert!(id(&named("ci"), &with_keys).contains("\"ci\""));
    let configured = settings([
        ("access_key_id", text("AKIDSETTINGS")),
        ("secret_access_key", secret("topsecret\n")),
        ("session_token", secret("toptoken")),
        ("profile", text("ci")),
    ]);
    let found = find(&configured, &with_keys, &nowhere()).unwrap();
    assert_eq!(
        found.to_string(),
        "access key …INGS from the token's settings"
    );
    assert_eq!(found.secret_access_key(), "topsecret");
    assert_eq!(found.session_token(), Some("toptoken"));
    let shown = format!("{found:?} {:?}", Chain::new(&configured, &with_keys));
    assert!(
        !shown.contains("topsecret") && !shown.contains("toptoken"),
        "{shown}"
    );
}

#[test]
fn a_file_that_is_switched_off_is_empty() {
    let home = Home::new("off", CONFIG, CREDENTIALS);
    let without_config = home.surroundings(|name| match name {
        "AWS_CONFIG_FILE" => Some("/dev/null".into()),
        _ => None,
    });
    let found = find(&Settings::default(), &without_config, &nowhere()).unwrap();
    assert!(found.to_string().contains("credentials file"), "{found}");
    let without_either = home.surroundings(|name| match name {
        "AWS_CONFIG_FILE" | "AWS_SHARED_CREDENTIALS_FILE" => Some("/dev/null".into()),
        _ => None,
    });
    let machine = World::new(instance);
    let found = find(&Settings::default(), &without_either, &machine).unwrap();
    assert!(found.to_string().contains("metadata service"), "{found}");
}

#[test]
fn a_command_is_asked_where_the_profile_has_one() {
    let home = Home::new("command", CONFIG, "");
    let asked: Arc<Mutex<Vec<OsString>>> = Arc::default();
    let words = asked.clone();
    let surroundings = Surroundings {
        run: Arc::new(move |command, _| {
            words.lock().extend_from_slice(command);
            let json = json!({"Version": 1, "AccessKeyId": "AKIDCOMMAND", "SecretAccessKey": "s"});
            Ok(Zeroizing::new(json.to_string().into_bytes()))
        }),
        ..home.surroundings(|_| None)
    };
    let tool = settings([("profile", text("tool"))]);
    let found = find(&tool, &surroundings, &nowhere()).unwrap();
    assert_eq!(found.access_key_id(), "AKIDCOMMAND");
    assert_eq!(*asked.lock(), ["/bin/get", "x y"]);
    // What keeps a command from being started is told as it is.
    let surroundings = home.surroundings(|_| None);
    let refused = find(&tool, &surroundings, &nowhere()).unwrap_err();
    assert_eq!(refused, TokenError::NotSupported);
}

#[test]
fn an_endpoint_that_is_not_read_is_not_passed_over() {
    let config = "[profile here]\nregion = eu-west-1\nservices = local\nendpoint_url = https://other.example\n\
                  [profile there]\nregion = eu-west-1\nservices = far\n\
                  [services local]\nkms =\n  endpoint_url = https://kms.example\n\
                  [services far]\ns3 =\n  endpoint_url = https://s3.example\n";
    let home = Home::new("services", config, "");
    let places = |profile: &str, more: &[(&str, Value)], variable| {
        let mut settings = settings([("profile", text(profile))]);
        let more = more.iter().cloned();
        settings
            .0
            .extend(more.map(|(name, value)| (name.to_owned(), value)));
        Places::find(&settings, &home.surroundings(variable))
    };
    let refused = places("here", &[], |_| None).unwrap_err();
    assert!(
        reason(&refused).contains("section of services"),
        "{refused}"
    );
    let own = [(
        "endpoints",
        Value::Texts(vec!["https://own.example".to_owned()]),
    )];
    let host = |places: Places| places.endpoints("eu-west-1").unwrap().remove(0).host;
    assert_eq!(host(places("here", &own, |_| None).unwrap()), "own.example");
    let named =
        |name: &str| (name == "AWS_ENDPOINT_URL_KMS").then(|| "https://named.example".into());
    assert_eq!(host(places("here", &[], named).unwrap()), "named.example");
    // What it has for other services is nothing to this one.
    let usual = host(places("there", &[], |_| None).unwrap());
    assert_eq!(usual, "kms.eu-west-1.amazonaws.com");
}

#[test]
fn what_is_not_supported_is_named() {
    let home = Home::new("unsupported", CONFIG, CREDENTIALS);
    for (profile, words) in [
        ("role", "role_arn, and roles"),
        ("sso", "sso_session, and single sign-on"),
        ("web", "web identities"),
        ("login", "`aws login`"),
        ("half", "only one of"),
        ("absent", "no profile \"absent\""),
        ("plain", "no instance metadata answer at 169.254.169.254"),
    ] {
        let settings = settings([("profile", text(profile))]);
        let error = find(&settings, &home.surroundings(|_| None), &nowhere()).unwrap_err();
        assert!(reason(&error).contains(words), "{error}");
    }
    let web = surroundings(|name| (name == "AWS_WEB_IDENTITY_TOKEN_FILE").then(|| "/x".into()));
    let error = find(&Settings::default(), &web, &nowhere()).unwrap_err();
    assert!(reason(&error).contains("credential_process"), "{error}");
    let half = surroundings(|name| (name == "AWS_ACCESS_KEY_ID").then(|| "AKID".into()));
    let error = find(&Settings::default(), &half, &nowhere()).unwrap_err();
    assert!(reason(&error).contains("only one is set"), "{error}");
    let alone = settings([("access_key_id", text("AKID"))]);
    let error = find(&alone, &half, &nowhere()).unwrap_err();
    assert!(reason(&error).contains("belong together"), "{error}");
    let odd = settings([
        ("access_key_id", text("AKID")),
        ("secret_access_key", secret("a\r\nb")),
    ]);
    let error = find(&odd, &half, &nowhere()).unwrap_err();
    assert!(reason(&error).contains("secret access key"), "{error}");
}

#[test]
fn a_container_asks_its_endpoint() {
    let temporary = |asked: &Asked| {
        assert!(asked.local);
        success(
            &json!({"RoleArn": "x", "AccessKeyId": "AKIDCONTAINER", "SecretAccessKey": "s", "Token": "t",
            "Expiration": "2015-08-30T18:36:00Z"}),
        )
    };
    let ask = |surroundings: &Surroundings| {
        let world = World::new(temporary);
        let found = find(&Settings::default(), surroundings, &world);
        let asked = world.asked.lock().first().cloned();
        (found, asked)
    };
    let relative = surroundings(|name| match name {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" => Some("/v2/credentials?id=1".into()),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN" => Some("Basic abc".into()),
        _ => None,
    });
    let (found, asked) = ask(&relative);
    let (found, asked) = (found.unwrap(), asked.unwrap());
    assert_eq!(found.session_token(), Some("t"));
    assert_eq!(
        found.expires(),
        Some(noon() + Duration::from_secs(6 * 3600))
    );
    assert_eq!(asked.host, "169.254.170.2");
    assert_eq!(asked.line, "Get /v2/credentials?id=1");
    assert_eq!(asked.headers["authorization"], "Basic abc");

    let full = surroundings(|name| {
        (name == "AWS_CONTAINER_CREDENTIALS_FULL_URI").then(|| "http://[fd00:ec2::23]:81/v1".into())
    });
    let (found, asked) = ask(&full);
    found.unwrap();
    let asked = asked.unwrap();
    assert_eq!(
        (&*asked.host, &*asked.line),
        ("[fd00:ec2::23]:81", "Get /v1")
    );
    assert!(!asked.headers.contains_key("authorization"));

    for far in [
        surroundings(|name| {
            (name == "AWS_CONTAINER_CREDENTIALS_FULL_URI").then(|| "http://10.0.0.1/".into())
        }),
        surroundings(|name| {
            (name == "AWS_CONTAINER_CREDENTIALS_FULL_URI").then(|| "nothing".into())
        }),
        surroundings(|name| {
            (name == "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").then(|| "@evil.example/".into())
        }),
        surroundings(|name| match name {
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" => Some("/x".into()),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN" => Some("a\r\nb".into()),
            _ => None,
        }),
        surroundings(|name| match name {
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" => Some("/x".into()),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" => Some("/nonexistent/token".into()),
            _ => None,
        }),
    ] {
        let (found, asked) = ask(&far);
        assert!(
            matches!(found, Err(TokenError::Unreachable(_))),
            "{found:?}"
        );
        assert!(asked.is_none(), "{asked:?}");
    }
    // Set and of no use is an error, and not a reason to be somebody else.
    let world = World::new(|_| answer(500, ""));
    let error = find(&Settings::default(), &relative, &world).unwrap_err();
    assert!(reason(&error).contains("status 500"), "{error}");
}

/// An instance with a role.
fn instance(asked: &Asked) -> Result<Response> {
    assert!(asked.local);
    match &*asked.line {
        "Put /latest/api/token" => {
            assert_eq!(
                asked.headers["x-aws-ec2-metadata-token-ttl-seconds"],
                "21600"
            );
            return answer(200, "the token\n");
        }
        line => assert_eq!(
            asked.headers["x-aws-ec2-metadata-token"], "the token",
            "{line}"
        ),
    }
    match &*asked.line {
        "Get /latest/meta-data/iam/security-credentials/" => answer(200, "signer\n"),
        "Get /latest/meta-data/iam/security-credentials/signer" => {
            success(&json!({"Code": "Success",
            "AccessKeyId": "AKIDINSTANCE", "SecretAccessKey": "s", "Token": "t", "Expiration": "2015-08-30T18:36:00Z"}))
        }
        other => panic!("{other}"),
    }
}

#[test]
fn an_instance_asks_its_metadata() {
    let silent = surroundings(|_| None);
    let world = World::new(instance);
    let found = find(&Settings::default(), &silent, &world).unwrap();
    assert_eq!(
        found.to_string(),
        "access key …ANCE from the instance's metadata service"
    );
    assert_eq!(world.asked.lock()[0].host, "169.254.169.254");

    let elsewhere = settings([("metadata_endpoint", text("http://127.0.0.1:1338/"))]);
    let world = World::new(instance);
    find(&elsewhere, &silent, &world).unwrap();
    assert_eq!(world.asked.lock()[0].host, "127.0.0.1:1338");
    let six = surroundings(|name| {
        (name == "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").then(|| "IPv6".into())
    });
    let world = World::new(instance);
    find(&Settings::default(), &six, &world).unwrap();
    assert_eq!(world.asked.lock()[0].host, "[fd00:ec2::254]");

    let off = surroundings(|name| (name == "AWS_EC2_METADATA_DISABLED").then(|| "True".into()));
    let world = World::new(|_| panic!("nothing is asked"));
    let error = find(&Settings::default(), &off, &world).unwrap_err();
    assert!(reason(&error).contains("switched off"), "{error}");
    let far = settings([("metadata_endpoint", text("http://evil.example"))]);
    let error = find(&far, &silent, &world).unwrap_err();
    assert!(reason(&error).contains("https://"), "{error}");

    let without_role = World::new(|asked| match asked.line.starts_with("Put") {
        true => answer(200, "the token"),
        false => answer(404, ""),
    });
    let error = find(&Settings::default(), &silent, &without_role).unwrap_err();
    assert!(reason(&error).contains("has no role"), "{error}");
    let failing = World::new(|asked| match &*asked.line {
        "Put /latest/api/token" => answer(200, "the token"),
        "Get /latest/meta-data/iam/security-credentials/" => answer(200, "signer"),
        _ => success(&json!({"Code": "AssumeRoleUnauthorizedAccess", "Message": "no trust"})),
    });
    let error = find(&Settings::default(), &silent, &failing).unwrap_err();
    assert!(reason(&error).contains("no trust"), "{error}");
}

/// A service whose credentials come from an instance: the `n`th ones are called AKID0000n and end `life` after they were
/// made. `accepted` says which ones KMS takes.
fn renewing(
    life: Duration,
    fails: Arc<AtomicUsize>,
    accepted: fn(&str) -> bool,
) -> (World, Arc<Kms>, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let now = Arc::new(Mutex::new(noon()));
    let clock = now.clone();
    let world = World::new(move |asked| {
        if !asked.local {
            return match accepted(asked.access_key_id()) {
                true => success(&json!({"Keys": [], "Aliases": []})),
                false => failure(400, "ExpiredTokenException", ""),
            };
        }
        if !asked.line.ends_with("/signer") {
            return instance(asked);
        }
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        if fails.load(Ordering::SeqCst) > 0 {
            fails.fetch_sub(1, Ordering::SeqCst);
            return answer(500, "");
        }
        let ends = stamp(*clock.lock() + life);
        success(
            &json!({"AccessKeyId": format!("AKID0000{number}"), "SecretAccessKey": "s", "Expiration": ends}),
        )
    });
    let world = World { now, ..world };
    let settings = settings([("region", text("eu-central-1"))]);
    let configuration = Configuration {
        surroundings: surroundings(|_| None),
        ..configuration(settings, vec![])
    };
    let service = world.service(&configuration);
    (world, service, made)
}

fn last_id(world: &World) -> String {
    let asked = world.asked.lock();
    let last = asked.iter().rev().find(|asked| !asked.local).unwrap();
    last.access_key_id().to_owned()
}

#[test]
fn credentials_are_renewed_before_they_end_and_kept_while_that_fails() {
    let fails = Arc::new(AtomicUsize::new(0));
    let (world, service, made) = renewing(Duration::from_secs(3600), fails.clone(), |_| true);
    let at = |minutes: u64| {
        *world.now.lock() = noon() + Duration::from_secs(60 * minutes);
        let listed = service.list(None, &mut |_| {});
        (listed.map(drop), made.load(Ordering::SeqCst))
    };
    assert_eq!(at(0), (Ok(()), 1));
    assert_eq!(at(44), (Ok(()), 1));
    // A quarter of an hour before the end, and it fails: the old ones count, and not every request tries again.
    fails.store(2, Ordering::SeqCst);
    assert_eq!(at(46), (Ok(()), 2));
    assert_eq!(last_id(&world), "AKID00001");
    assert_eq!(at(46), (Ok(()), 2));
    assert_eq!(at(48), (Ok(()), 3));
    assert_eq!(last_id(&world), "AKID00001");
    assert_eq!(at(50), (Ok(()), 4));
    assert_eq!(last_id(&world), "AKID00004");
    // At their end there are no others: that is told.
    fails.store(1, Ordering::SeqCst);
    let (failed, _) = at(200);
    assert!(
        matches!(failed, Err(TokenError::Unreachable(_))),
        "{failed:?}"
    );
    assert_eq!(at(200).0, Ok(()));
}

#[test]
fn an_early_renewal_leaves_time_for_what_the_credentials_are_for() {
    let fails = Arc::new(AtomicUsize::new(0));
    let (world, service, made) = renewing(Duration::from_secs(3600), fails.clone(), |_| true);
    service.list(None, &mut |_| {}).unwrap();
    *world.now.lock() = noon() + Duration::from_secs(60 * 50);
    world.asked.lock().clear();
    fails.store(1, Ordering::SeqCst);
    let deadline = Deadline::after(Duration::from_secs(60));
    service.list(Some(deadline), &mut |_| {}).unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 2);
    let asked = world.asked.lock();
    let (near, far): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.local);
    assert!(!near.is_empty() && !far.is_empty());
    let left = Duration::from_secs(20);
    assert!(
        near.iter()
            .all(|asked| asked.deadline + left < deadline.instant())
    );
    assert!(far.iter().all(|asked| asked.deadline == deadline.instant()));
}

#[test]
fn credentials_that_are_refused_are_renewed_once() {
    let none = Arc::new(AtomicUsize::new(0));
    let life = Duration::from_secs(3600);
    let (world, service, made) = renewing(life, none.clone(), |id| id != "AKID00001");
    let deadline = Deadline::after(Duration::from_secs(60));
    service.list(Some(deadline), &mut |_| {}).unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 2);
    assert_eq!(last_id(&world), "AKID00002");
    // The first credentials, the second, and all requests are of one operation.
    let asked = world.asked.lock().clone();
    assert!(asked.iter().any(|asked| asked.local));
    assert!(
        asked
            .iter()
            .all(|asked| asked.deadline == deadline.instant())
    );

    let (world, service, made) = renewing(life, none, |_| false);
    let error = service.list(None, &mut |_| {}).unwrap_err();
    assert!(
        reason(&error).contains("from the instance's metadata service"),
        "{error}"
    );
    assert!(matches!(error, TokenError::Refused(_)), "{error:?}");
    assert_eq!(made.load(Ordering::SeqCst), 2);
    let asked = world.asked.lock();
    assert_eq!(asked.iter().filter(|asked| !asked.local).count(), 2);
}

#[test]
fn nobody_waits_for_another_threads_search_beyond_the_deadline() {
    let (begun, over) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let hang = (begun.clone(), over.clone());
    let world = World::new(move |asked| {
        if asked.line.starts_with("Put") {
            hang.0.wait();
            hang.1.wait();
        }
        answer(404, "")
    });
    let settings = settings([("region", text("eu-central-1"))]);
    let service = world.service(&configuration(settings, vec![]));
    std::thread::scope(|scope| {
        scope.spawn(|| service.list(None, &mut |_| {}).unwrap_err());
        begun.wait();
        let soon = Deadline::after(Duration::from_millis(20));
        let error = service.list(Some(soon), &mut |_| {}).unwrap_err();
        assert!(reason(&error).contains("by another thread"), "{error}");
        over.wait();
    });
}

/// The metadata service hands out ended credentials when it has no others, and the services take them.
#[test]
fn ended_credentials_are_used_if_there_are_no_others() {
    let none = Arc::new(AtomicUsize::new(0));
    let (world, service, made) = renewing(Duration::ZERO, none, |_| true);
    service.list(None, &mut |_| {}).unwrap();
    service.list(None, &mut |_| {}).unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 1);
    *world.now.lock() = noon() + Duration::from_secs(120);
    service.list(None, &mut |_| {}).unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

#[test]
fn sixteen_threads_look_for_credentials_once() {
    for failures in [0, 1] {
        let fails = Arc::new(AtomicUsize::new(failures));
        let (_, service, made) = renewing(Duration::from_secs(3600), fails, |_| true);
        let barrier = Barrier::new(16);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    barrier.wait();
                    // With a failure, whoever comes after it may look again, and finds some.
                    let _ = service.list(None, &mut |_| {});
                });
            }
        });
        let made = made.load(Ordering::SeqCst);
        assert!((1..=1 + failures).contains(&made), "{made}");
    }
}
