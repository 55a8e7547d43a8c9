//! Where the service is: regions, and the names of its endpoints there.

use std::ffi::OsString;

use ctk_token::{Reason, Result, TokenError};

use crate::{Settings, Surroundings, http::Endpoint};

use super::credentials::profiles::Profiles;

/// What decides where requests go. Read once: files and environment are looked at when the first request is made.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Of everything that does not say its own; `None` if nobody said one.
    region: Option<String>,
    /// Configured ones, instead of those of the region.
    endpoints: Vec<Endpoint>,
    /// Endpoints with validated cryptography (`kms-fips`).
    fips: bool,
    /// Endpoints with IPv6.
    dualstack: bool,
}

/// A partition of AWS: how its regions begin, and the domains of its endpoints, without and with IPv6.
struct Partition {
    prefix: &'static str,
    domain: &'static str,
    dualstack: &'static str,
}

const AWS: Partition = Partition {
    prefix: "",
    domain: "amazonaws.com",
    dualstack: "api.aws",
};

const PARTITIONS: [Partition; 7] = [
    Partition {
        prefix: "cn-",
        domain: "amazonaws.com.cn",
        dualstack: "api.amazonwebservices.com.cn",
    },
    Partition {
        prefix: "us-gov-",
        ..AWS
    },
    Partition {
        prefix: "us-iso-",
        domain: "c2s.ic.gov",
        dualstack: "api.aws.ic.gov",
    },
    Partition {
        prefix: "us-isob-",
        domain: "sc2s.sgov.gov",
        dualstack: "api.aws.scloud",
    },
    Partition {
        prefix: "eu-isoe-",
        domain: "cloud.adc-e.uk",
        dualstack: "api.cloud-aws.adc-e.uk",
    },
    Partition {
        prefix: "us-isof-",
        domain: "csp.hci.ic.gov",
        dualstack: "api.aws.hci.ic.gov",
    },
    Partition {
        prefix: "eusc-",
        domain: "amazonaws.eu",
        dualstack: "api.amazonwebservices.eu",
    },
];

impl Places {
    /// What settings, environment and profile say, in this order.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] with what is wrong with one of them.
    pub(super) fn find(settings: &Settings, surroundings: &Surroundings) -> Result<Self> {
        let variable = |name: &str| {
            let value = (surroundings.variable)(name).map(OsString::into_string);
            value?.ok().filter(|value| !value.is_empty())
        };
        let known = settings.text("region").map(str::to_owned);
        let known = known
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"));
        let chosen = settings.text("profile");
        let profiles = match Profiles::read(surroundings) {
            // Whoever has settings enough need not have files that can be read, nor the profile of somebody's shell.
            Err(_) if known.is_some() && chosen.is_none() => Profiles::default(),
            profiles => profiles?,
        };
        let profile = match profiles.profile(chosen, surroundings) {
            Err(_) if known.is_some() && chosen.is_none() => None,
            profile => profile?,
        };
        let of_profile = |name: &str| {
            let value = profile.as_ref().and_then(|profile| profile.get(name));
            value.map(str::to_owned)
        };
        let region = known
            .or_else(|| of_profile("region"))
            .or_else(|| settings.texts("keys").iter().find_map(|key| region_of(key)));
        let is_true = |text: String| text.eq_ignore_ascii_case("true");
        let ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .or_else(|| of_profile("ignore_configured_endpoint_urls"));
        // The section of endpoints counts before the profile's own endpoint_url, and is not read here: requests must not go
        // elsewhere than somebody has said.
        let has_section = || {
            let profile = profile.as_ref();
            profile.is_some_and(|profile| profiles.has_endpoint(profile, "kms"))
        };
        let elsewhere = || -> Result<Option<String>> {
            match variable("AWS_ENDPOINT_URL_KMS").or_else(|| variable("AWS_ENDPOINT_URL")) {
                Some(url) => Ok(Some(url)),
                None if has_section() => Err(unusable(
                    "the profile has an endpoint for kms in its section of services, which is not supported: set `endpoints` in \
                     the token's configuration, or AWS_ENDPOINT_URL_KMS"
                        .to_owned(),
                )),
                None => Ok(of_profile("endpoint_url")),
            }
        };
        let urls = match settings.texts("endpoints") {
            [] if ignored.is_some_and(is_true) => Vec::new(),
            [] => elsewhere()?.into_iter().collect(),
            urls => urls.to_vec(),
        };
        let endpoints = urls
            .iter()
            .map(|url| Endpoint::parse(url).map_err(unusable));
        let flag = |variable_name: &str, name: &str| {
            let value = variable(variable_name).or_else(|| of_profile(name));
            value.is_some_and(is_true)
        };
        Ok(Self {
            region: region.map(checked).transpose()?,
            endpoints: endpoints.collect::<Result<_>>()?,
            fips: flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            dualstack: flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
        })
    }

    /// The region of a key, which an ARN says by itself, or of everything else.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] if nobody said a region.
    pub(super) fn region(&self, key: Option<&str>) -> Result<String> {
        match key.and_then(region_of) {
            Some(region) => checked(region),
            None => self.region.clone().ok_or_else(|| {
                unusable(
                    "no AWS region is known: set `region` in the token's configuration, or AWS_REGION"
                        .to_owned(),
                )
            }),
        }
    }

    /// The endpoints of a region.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] for a region that is no name.
    pub(super) fn endpoints(&self, region: &str) -> Result<Vec<Endpoint>> {
        if !self.endpoints.is_empty() {
            return Ok(self.endpoints.clone());
        }
        let mut partitions = PARTITIONS.iter();
        let partition = partitions.find(|partition| region.starts_with(partition.prefix));
        let partition = partition.unwrap_or(&AWS);
        let name = if self.fips { "kms-fips" } else { "kms" };
        let domain = match self.dualstack {
            true => partition.dualstack,
            false => partition.domain,
        };
        let url = format!("https://{name}.{region}.{domain}");
        Ok(vec![Endpoint::parse(&url).map_err(unusable)?])
    }
}

/// The region in an ARN (`arn:aws:kms:REGION:ACCOUNT:key/…`); `None` for other names of keys.
fn region_of(key: &str) -> Option<String> {
    let mut parts = key.split(':');
    let is_arn = parts.next() == Some("arn");
    let region = parts.nth(2).filter(|region| !region.is_empty())?;
    is_arn.then(|| region.to_owned())
}

/// A region as it may stand in a host's name.
fn checked(region: String) -> Result<String> {
    let fits = region
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    match fits && (1..=40).contains(&region.len()) {
        true => Ok(region),
        false => Err(unusable(format!(
            "{:?} is no AWS region: it is written like eu-central-1",
            super::error::shown(&region)
        ))),
    }
}

fn unusable(why: String) -> TokenError {
    TokenError::Unreachable(Reason::new(why))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::Value;

    use super::*;

    fn surroundings(variable: fn(&str) -> Option<OsString>) -> Surroundings {
        Surroundings {
            home: None,
            variable,
            run: Arc::new(|_, _| Err(TokenError::NotSupported)),
        }
    }

    fn settings(settings: &[(&str, Value)]) -> Settings {
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        Settings(settings.collect())
    }

    fn host(region: &str, places: &Places) -> String {
        places.endpoints(region).unwrap()[0].host.clone()
    }

    #[test]
    fn every_partition_has_its_endpoints() {
        let mut places = Places::default();
        for (region, expected) in [
            ("eu-central-1", "kms.eu-central-1.amazonaws.com"),
            ("cn-north-1", "kms.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", "kms.us-gov-west-1.amazonaws.com"),
            ("us-iso-east-1", "kms.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "kms.us-isob-east-1.sc2s.sgov.gov"),
            ("eusc-de-east-1", "kms.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(host(region, &places), expected);
        }
        places.fips = true;
        assert_eq!(
            host("us-east-1", &places),
            "kms-fips.us-east-1.amazonaws.com"
        );
        places.dualstack = true;
        assert_eq!(host("us-east-1", &places), "kms-fips.us-east-1.api.aws");
        assert_eq!(
            host("cn-north-1", &places),
            "kms-fips.cn-north-1.api.amazonwebservices.com.cn"
        );
    }

    #[test]
    fn the_nearest_word_on_the_region_counts() {
        let arn = "arn:aws:kms:ap-south-1:111122223333:key/1";
        let text = |text: &str| Value::Text(text.to_owned());
        let keys = (
            "keys",
            Value::Texts(vec!["alias/x".to_owned(), arn.to_owned()]),
        );
        let silent = surroundings(|_| None);
        let places = Places::find(&settings(&[]), &silent).unwrap();
        assert!(
            places
                .region(None)
                .unwrap_err()
                .to_string()
                .contains("AWS_REGION")
        );
        assert_eq!(places.region(Some(arn)).unwrap(), "ap-south-1");

        let places = Places::find(&settings(std::slice::from_ref(&keys)), &silent).unwrap();
        assert_eq!(places.region(None).unwrap(), "ap-south-1");

        let both = surroundings(|name| match name {
            "AWS_REGION" => Some("us-west-1".into()),
            "AWS_DEFAULT_REGION" => Some("us-west-2".into()),
            _ => None,
        });
        let places = Places::find(&settings(std::slice::from_ref(&keys)), &both).unwrap();
        assert_eq!(places.region(Some("alias/x")).unwrap(), "us-west-1");
        assert_eq!(places.region(Some(arn)).unwrap(), "ap-south-1");

        let places =
            Places::find(&settings(&[("region", text("eu-west-1")), keys]), &both).unwrap();
        assert_eq!(places.region(None).unwrap(), "eu-west-1");

        for wrong in ["", "a/b", "eu-west-1.evil.example", "EU", &"a".repeat(41)] {
            assert!(
                Places::find(&settings(&[("region", text(wrong))]), &silent).is_err(),
                "{wrong}"
            );
        }
        let odd = "arn:aws:kms:evil.example/:1:key/1";
        assert!(places.region(Some(odd)).is_err());
        assert_eq!(places.region(Some("arn:aws:kms")).unwrap(), "eu-west-1");
        assert_eq!(places.region(Some("mrk-1")).unwrap(), "eu-west-1");
    }

    #[test]
    fn endpoints_can_be_elsewhere() {
        let elsewhere = surroundings(|name| match name {
            "AWS_ENDPOINT_URL_KMS" => Some("https://kms.internal".into()),
            "AWS_ENDPOINT_URL" => Some("https://all.internal".into()),
            _ => None,
        });
        let places = Places::find(&settings(&[]), &elsewhere).unwrap();
        assert_eq!(host("eu-west-1", &places), "kms.internal");
        let two = Value::Texts(vec!["https://one".to_owned(), "https://two".to_owned()]);
        let places = Places::find(&settings(&[("endpoints", two)]), &elsewhere).unwrap();
        assert_eq!(host("eu-west-1", &places), "one");
        assert_eq!(places.endpoints("eu-west-1").unwrap().len(), 2);
        let ignoring = surroundings(|name| match name {
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS" => Some("True".into()),
            "AWS_ENDPOINT_URL" => Some("https://all.internal".into()),
            _ => None,
        });
        let places = Places::find(&settings(&[]), &ignoring).unwrap();
        assert_eq!(host("eu-west-1", &places), "kms.eu-west-1.amazonaws.com");
        let plain = Value::Texts(vec!["http://kms.example".to_owned()]);
        assert!(Places::find(&settings(&[("endpoints", plain)]), &elsewhere).is_err());
    }

    #[test]
    fn the_profile_of_a_shell_is_nothing_to_settings_that_suffice() {
        let absent = surroundings(|name| (name == "AWS_PROFILE").then(|| "absent".into()));
        let region = Value::Text("eu-west-1".to_owned());
        let with_region = settings(&[("region", region.clone())]);
        let places = Places::find(&with_region, &absent).unwrap();
        assert_eq!(places.region(None).unwrap(), "eu-west-1");
        let unreadable = Surroundings {
            // A file where a folder should be.
            home: Some("/dev/null".into()),
            ..surroundings(|_| None)
        };
        assert!(Places::find(&with_region, &unreadable).is_ok());
        assert!(Places::find(&settings(&[]), &unreadable).is_err());
        assert!(Places::find(&settings(&[]), &absent).is_err());
        let chosen = Value::Text("absent".to_owned());
        let with_both = settings(&[("region", region), ("profile", chosen)]);
        assert!(Places::find(&with_both, &absent).is_err());
    }
}
