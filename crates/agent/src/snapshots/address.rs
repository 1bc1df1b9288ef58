//! A store's address as people get to see it.

use url::Url;

/// The address for people, without any secret, and where another endpoint than the provider's own is
/// set, that as well.
pub(super) fn of(url: &Url) -> String {
    let names = match url.scheme() {
        "s3" | "s3a" => &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"][..],
        "gs" => &["GOOGLE_BASE_URL"],
        "az" | "azure" | "abfs" | "abfss" | "adl" => &["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"],
        _ => &[],
    };
    let mut set = names.iter().filter_map(|name| std::env::var(name).ok());
    let endpoint = set.next().and_then(|text| Url::parse(&text).ok());
    match endpoint {
        Some(endpoint) => format!(
            "{} at {}",
            named(url),
            endpoint.origin().ascii_serialization()
        ),
        None => named(url),
    }
}

/// The address without any secret.
pub(super) fn named(url: &Url) -> String {
    format!(
        "{}://{}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.path()
    )
}
