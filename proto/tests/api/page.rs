//! From descriptors to Markdown.

use std::collections::HashMap;
use std::fmt::Write as _;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};

/// Numbers of fields in descriptors, by which the places of comments are told: see SourceCodeInfo
/// in google/protobuf/descriptor.proto.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const FILE_SERVICE: i32 = 6;
const SERVICE_METHOD: i32 = 2;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUM: i32 = 4;
const ENUM_VALUE: i32 = 2;

const TOP: &str = "\
# The API, call by call

From the comments of the [.proto files](../proto/herd/v1); a test keeps it so. `grpcurl -plaintext
127.0.0.1:50051 describe herd.v1.Locations` asks a node for the same. Besides these services a node has
`grpc.health.v1.Health` and, unless that is switched off, `grpc.reflection.v1.ServerReflection`.
[errors.md](errors.md) tells what errors carry.
";

/// The page: services first, then the messages they use, file by file.
pub(crate) fn of(descriptors: &FileDescriptorSet) -> String {
    let ours = || descriptors.file.iter().filter(|file| file.package() == "herd.v1");
    let mut page = TOP.to_owned();
    for file in ours() {
        let comments = Comments::of(file);
        for (index, service) in file.service.iter().enumerate() {
            comments.service(&mut page, service, &[FILE_SERVICE, number(index)]);
        }
    }
    for file in ours() {
        let comments = Comments::of(file);
        let _ = write!(page, "\n## Messages of {}\n", file.name());
        for (index, message) in file.message_type.iter().enumerate() {
            comments.message(&mut page, message, "", &[FILE_MESSAGE, number(index)]);
        }
        for (index, values) in file.enum_type.iter().enumerate() {
            comments.values(&mut page, values, "", &[FILE_ENUM, number(index)]);
        }
    }
    page
}

/// What is said in a file, by place.
struct Comments<'a>(HashMap<&'a [i32], &'a str>);

impl<'a> Comments<'a> {
    fn of(file: &'a FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        Self(locations.map(|place| (&*place.path, place.leading_comments())).collect())
    }

    /// Comments are wrapped text: one space after each `//` is the file's.
    fn at(&self, path: &[i32]) -> String {
        let text = self.0.get(path).copied().unwrap_or_default();
        let lines: Vec<_> =
            text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        lines.join("\n").trim().to_owned()
    }

    fn service(&self, page: &mut String, service: &ServiceDescriptorProto, path: &[i32]) {
        let _ = write!(page, "\n## Service {}\n\n{}\n", service.name(), self.at(path));
        for (index, method) in service.method.iter().enumerate() {
            let comment = self.at(&[path, &[SERVICE_METHOD, number(index)]].concat());
            let _ = write!(page, "\n### {}/{}\n\n", service.name(), method.name());
            let _ = write!(page, "{}\n\n{comment}\n", signature(method));
        }
    }

    fn message(&self, page: &mut String, message: &DescriptorProto, within: &str, path: &[i32]) {
        let name = format!("{within}{}", message.name());
        let _ = write!(page, "\n### {name}\n\n{}\n", self.at(path));
        if !message.field.is_empty() {
            page.push_str("\n| field | type | |\n|---|---|---|\n");
        }
        for (index, field) in message.field.iter().enumerate() {
            let comment = self.at(&[path, &[MESSAGE_FIELD, number(index)]].concat());
            let _ = writeln!(
                page,
                "| `{}` = {} | {} | {} |",
                field.name(),
                field.number(),
                type_of(field, message),
                cell(&comment)
            );
        }
        let within = format!("{name}.");
        for (index, nested) in message.nested_type.iter().enumerate() {
            self.message(page, nested, &within, &[path, &[MESSAGE_NESTED, number(index)]].concat());
        }
        for (index, values) in message.enum_type.iter().enumerate() {
            self.values(page, values, &within, &[path, &[MESSAGE_ENUM, number(index)]].concat());
        }
    }

    fn values(&self, page: &mut String, values: &EnumDescriptorProto, within: &str, path: &[i32]) {
        let comment = self.at(path);
        let _ = write!(
            page,
            "\n### {within}{}\n\n{comment}\n\n| value | |\n|---|---|\n",
            values.name()
        );
        for (index, value) in values.value.iter().enumerate() {
            let comment = self.at(&[path, &[ENUM_VALUE, number(index)]].concat());
            let _ =
                writeln!(page, "| `{}` = {} | {} |", value.name(), value.number(), cell(&comment));
        }
    }
}

fn number(index: usize) -> i32 {
    i32::try_from(index).expect("descriptors count in i32")
}

fn signature(method: &MethodDescriptorProto) -> String {
    let side = |streaming, name: &str| {
        format!("{}{}", if streaming { "stream of " } else { "" }, linked(name))
    };
    let asked = side(method.client_streaming(), method.input_type());
    let answered = side(method.server_streaming(), method.output_type());
    format!("{asked} → {answered}")
}

/// A message's or enum's name, with where it stands on the page.
fn linked(full: &str) -> String {
    match full.strip_prefix(".herd.v1.") {
        Some(name) => {
            let anchor = name.replace('.', "").to_lowercase();
            format!("[{name}](#{anchor})")
        }
        None => format!("`{}`", full.trim_start_matches('.')),
    }
}

fn type_of(field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    let base = match field.r#type() {
        Type::Message | Type::Enum => linked(field.type_name()),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    if field.label() == Label::Repeated {
        format!("repeated {base}")
    } else if field.proto3_optional() {
        format!("optional {base}")
    } else if let Some(index) = field.oneof_index {
        let choice = message.oneof_decl[usize::try_from(index).expect("an index")].name();
        format!("{base}, one of `{choice}`")
    } else {
        base
    }
}

/// Several paragraphs in one cell of a table.
fn cell(comment: &str) -> String {
    let paragraphs: Vec<_> =
        comment.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
    paragraphs.join("<br>").replace('|', "\\|")
}
