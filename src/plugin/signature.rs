//! The functions that a component exports, in WIT syntax, for messages about a component that doesn't fit.

use std::collections::BTreeMap;

use wasmparser::component_types::ComponentAnyTypeId;
use wasmparser::component_types::ComponentDefinedType;
use wasmparser::component_types::ComponentDefinedTypeId;
use wasmparser::component_types::ComponentEntityType;
use wasmparser::component_types::ComponentFuncType;
use wasmparser::component_types::ComponentInstanceTypeId;
use wasmparser::component_types::ComponentItem;
use wasmparser::component_types::ComponentValType;
use wasmparser::types::TypesRef;

use crate::plugin::world::Export;

/// A type nested more deeply is shown as `..`, because types can be nested without limit.
const DEPTH_MAX: usize = 6;
/// A longer line is truncated, because a type can be long as well.
const LINE_CHARS_MAX: usize = 160;

/// The names that a component's interfaces give to its types.
pub(super) struct Signatures<'a> {
    types: &'a TypesRef<'a>,
    names: BTreeMap<ComponentDefinedTypeId, &'a str>,
}

impl<'a> Signatures<'a> {
    /// Collects the names of the types in these imports and exports of a valid component.
    pub(super) fn new(types: &'a TypesRef<'a>, items: impl Iterator<Item = &'a ComponentItem>) -> Signatures<'a> {
        let mut names = BTreeMap::new();
        for item in items {
            let ComponentEntityType::Instance(id) = item.ty else { continue };
            for (name, export) in &types[id].exports {
                if let ComponentEntityType::Type { referenced, created } = export.ty {
                    for id in [referenced, created] {
                        if let ComponentAnyTypeId::Defined(id) = id {
                            names.entry(id).or_insert(name.as_str());
                        }
                    }
                }
            }
        }
        Signatures { types, names }
    }

    /// An export with its functions.
    pub(super) fn export(&self, name: &str, item: Option<&ComponentItem>) -> Export {
        let functions = match item.map(|item| item.ty) {
            Some(ComponentEntityType::Instance(id)) => self.instance(id),
            Some(ComponentEntityType::Func(id)) => vec![self.function("", &self.types[id])],
            Some(
                ComponentEntityType::Module(_)
                | ComponentEntityType::Value(_)
                | ComponentEntityType::Type { .. }
                | ComponentEntityType::Component(_),
            )
            | None => Vec::new(),
        };
        Export { name: name.to_owned(), functions }
    }

    fn instance(&self, id: ComponentInstanceTypeId) -> Vec<String> {
        let function = |(name, item): (&String, &ComponentItem)| {
            let ComponentEntityType::Func(id) = item.ty else { return None };
            Some(self.function(&format!("{name}: "), &self.types[id]))
        };
        self.types[id].exports.iter().filter_map(function).collect()
    }

    fn function(&self, before: &str, function: &ComponentFuncType) -> String {
        let parameters: Vec<String> =
            function.params.iter().map(|(name, ty)| format!("{name}: {}", self.value(*ty, DEPTH_MAX))).collect();
        let mut line = format!("{before}func({})", parameters.join(", "));
        if let Some(result) = function.result {
            line.push_str(&format!(" -> {}", self.value(result, DEPTH_MAX)));
        }
        if line.chars().count() > LINE_CHARS_MAX {
            line = line.chars().take(LINE_CHARS_MAX).chain("..".chars()).collect();
        }
        line
    }

    fn value(&self, ty: ComponentValType, depth: usize) -> String {
        let id = match ty {
            ComponentValType::Primitive(primitive) => return primitive.to_string(),
            ComponentValType::Type(id) => id,
        };
        let mut alias = Some(id);
        while let Some(id) = alias {
            if let Some(name) = self.names.get(&id) {
                return (*name).to_owned();
            }
            alias = self.types.peel_alias(id);
        }
        let Some(depth) = depth.checked_sub(1) else { return "..".to_owned() };
        let optional = |ty: &Option<ComponentValType>| ty.map(|ty| self.value(ty, depth));
        match &self.types[id] {
            ComponentDefinedType::Primitive(primitive) => primitive.to_string(),
            ComponentDefinedType::List { element, .. } => format!("list<{}>", self.value(*element, depth)),
            ComponentDefinedType::Option { ty, .. } => format!("option<{}>", self.value(*ty, depth)),
            ComponentDefinedType::Result { ok, err, .. } => match (optional(ok), optional(err)) {
                (None, None) => "result".to_owned(),
                (Some(ok), None) => format!("result<{ok}>"),
                (ok, Some(err)) => format!("result<{}, {err}>", ok.as_deref().unwrap_or("_")),
            },
            ComponentDefinedType::Tuple(tuple) => {
                let types: Vec<String> = tuple.types.iter().map(|ty| self.value(*ty, depth)).collect();
                format!("tuple<{}>", types.join(", "))
            }
            ComponentDefinedType::Record(_) => "record".to_owned(),
            ComponentDefinedType::Variant(_) => "variant".to_owned(),
            ComponentDefinedType::Enum(_) => "enum".to_owned(),
            ComponentDefinedType::Flags(_) => "flags".to_owned(),
            ComponentDefinedType::Own(_) | ComponentDefinedType::Borrow(_) => "resource".to_owned(),
            ComponentDefinedType::Map { .. }
            | ComponentDefinedType::FixedLengthList { .. }
            | ComponentDefinedType::Future { .. }
            | ComponentDefinedType::Stream { .. } => "..".to_owned(),
        }
    }
}
