//! The bounds of the S3 endpoint, each with its reason.

/// The settings of the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The domains below which the first part of a host is a bucket.
    pub domains: Vec<String>,
    /// The region that the endpoint says buckets are in.
    pub region: String,
    /// The bytes of a call's XML: a thousand keys of the longest, with their markup.
    pub xml_bytes_max: usize,
    /// The bytes of the file in a form: it is held in memory until its policy is checked.
    pub form_file_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            domains: Vec::new(),
            region: "us-east-1".into(),
            xml_bytes_max: 4 << 20,
            form_file_bytes_max: 32 << 20,
        }
    }
}
