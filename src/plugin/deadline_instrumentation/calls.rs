//! The call graph of a module, and from it the places where its functions need checks.
//!
//! An indirect call may reach any function of its type to which the module takes a reference, because only the module
//! fills its tables. Functions are processed bottom-up, callees before callers. Recursive functions get a check at
//! their entry and one after each call among them. Functions that never return get a check at their entry and no edge
//! in the graph: otherwise nearly every function would be recursive by way of a panic.
//!
//! Types are equal if they are structurally equal: without garbage collection there are no other types.

use std::collections::HashMap;

use wasmparser::BinaryReaderError;
use wasmparser::CompositeInnerType;
use wasmparser::ConstExpr;
use wasmparser::ElementItems;
use wasmparser::FuncType;
use wasmparser::FunctionBody;
use wasmparser::Operator;
use wasmparser::Parser;
use wasmparser::Payload;
use wasmparser::TableInit;
use wasmparser::TypeRef;
use wasmparser::ValType;

use super::stretch;
use super::stretch::Unchecked;

/// The places of a module's checks.
pub(super) struct Plan {
    /// For each function that isn't imported, the indices of the instructions that need a check before them, ascending.
    places: Vec<Vec<u32>>,
    results: Vec<Vec<ValType>>,
}

impl Plan {
    /// The checks that a module needs so that no more than `bound` instructions run without one.
    pub(super) fn read(module: &[u8], bound: u32) -> Result<Plan, BinaryReaderError> {
        let functions = Functions::read(module)?;
        let results = functions.declared.iter().map(|&kind| functions.results(kind).to_vec()).collect();
        let mut places = vec![Vec::new(); functions.bodies.len()];
        let edges = functions.edges()?;
        let mut unchecked = vec![Unchecked::ENDLESS; edges.len()];
        unchecked[..functions.imported].fill(Unchecked::HOST);
        for group in groups(&edges) {
            let is_cycle = group.len() > 1 || group.iter().any(|&one| edges[one].contains(&one));
            // The callees are known already, unless they are in the same group; such functions get a check at their
            // entry.
            for &node in group.iter().filter(|&&node| is_cycle && functions.returns(node)) {
                unchecked[node] = Unchecked::CHECKED;
            }
            let sets = || group.iter().filter(|&&node| node >= functions.count());
            let any_of = |unchecked: &[Unchecked], node: usize| {
                edges[node].iter().fold(Unchecked::ENDLESS, |sum, &one| sum.or(unchecked[one]))
            };
            for &set in sets() {
                unchecked[set] = any_of(&unchecked, set);
            }
            let mut found = Vec::new();
            for &node in &group {
                let Some((number, body)) = functions.body(node) else { continue };
                let is_checked = is_cycle || !functions.returns(node);
                let walked = stretch::walk(body, bound, is_checked, |call| {
                    functions.callee(call).map_or(Unchecked::CHECKED, |callee| unchecked[callee])
                })?;
                places[number] = walked.places;
                if functions.returns(node) {
                    found.push((node, walked.unchecked));
                }
            }
            for (node, what) in found {
                unchecked[node] = what;
            }
            for &set in sets() {
                unchecked[set] = any_of(&unchecked, set);
            }
        }
        Ok(Plan { places, results })
    }

    /// The indices of the instructions of a function that isn't imported that need a check before them.
    pub(super) fn take_places(&mut self, function: usize) -> Vec<u32> {
        self.places.get_mut(function).map(std::mem::take).unwrap_or_default()
    }

    /// The result types of a function that isn't imported.
    pub(super) fn results(&self, function: usize) -> &[ValType] {
        self.results.get(function).map_or(&[], Vec::as_slice)
    }
}

/// A module's functions. Each is a node of the call graph, identified by its number. After them come nodes for the sets
/// of functions of one type that a reference may point to.
#[derive(Default)]
struct Functions<'a> {
    /// The number of imported functions, which come first.
    imported: usize,
    /// The types of all functions.
    kinds: Vec<u32>,
    /// The types of the functions that aren't imported.
    declared: Vec<u32>,
    bodies: Vec<FunctionBody<'a>>,
    /// For each body, whether the function may return.
    returning: Vec<bool>,
    types: Vec<Option<FuncType>>,
    /// For each function type, the number of its set.
    sets: Vec<Option<usize>>,
    /// Functions to which the module takes a reference.
    referred: Vec<u32>,
}

impl<'a> Functions<'a> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "sections of the binary format, most of which aren't about functions"
    )]
    fn read(module: &'a [u8]) -> Result<Functions<'a>, BinaryReaderError> {
        let mut functions = Functions::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(groups) => {
                    for group in groups {
                        functions.types.extend(group?.types().map(|kind| match &kind.composite_type.inner {
                            CompositeInnerType::Func(function) => Some(function.clone()),
                            _ => None,
                        }));
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        if let TypeRef::Func(kind) = import?.ty {
                            functions.kinds.push(kind);
                        }
                    }
                    functions.imported = functions.kinds.len();
                }
                Payload::FunctionSection(declared) => {
                    functions.declared = declared.into_iter().collect::<Result<_, _>>()?;
                    functions.kinds.extend(&functions.declared);
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        if let TableInit::Expr(start) = table?.init {
                            functions.refer(&start)?;
                        }
                    }
                }
                Payload::GlobalSection(globals) => {
                    for global in globals {
                        functions.refer(&global?.init_expr)?;
                    }
                }
                Payload::ElementSection(elements) => {
                    for element in elements {
                        match element?.items {
                            ElementItems::Functions(items) => {
                                for item in items {
                                    functions.referred.push(item?);
                                }
                            }
                            ElementItems::Expressions(_, items) => {
                                for item in items {
                                    functions.refer(&item?)?;
                                }
                            }
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    for operator in body.get_operators_reader()? {
                        if let Operator::RefFunc { function_index } = operator? {
                            functions.referred.push(function_index);
                        }
                    }
                    functions.returning.push(stretch::returns(&body)?);
                    functions.bodies.push(body);
                }
                _ => {}
            }
        }
        functions.referred.sort_unstable();
        functions.referred.dedup();
        let mut sets = HashMap::new();
        for kind in &functions.types {
            let number = sets.len();
            functions.sets.push(kind.as_ref().map(|kind| *sets.entry(kind).or_insert(number)));
        }
        Ok(functions)
    }

    fn refer(&mut self, expression: &ConstExpr<'_>) -> Result<(), BinaryReaderError> {
        for operator in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator? {
                self.referred.push(function_index);
            }
        }
        Ok(())
    }

    fn count(&self) -> usize {
        self.imported + self.bodies.len()
    }

    /// The body of a function's node, and its number among the bodies.
    fn body(&self, node: usize) -> Option<(usize, &FunctionBody<'a>)> {
        let number = node.checked_sub(self.imported)?;
        Some((number, self.bodies.get(number)?))
    }

    /// Whether a node is a function of the module that never returns.
    fn is_endless(&self, node: usize) -> bool {
        self.body(node).is_some() && !self.returns(node)
    }

    /// Whether a node is a function of the module that may return.
    fn returns(&self, node: usize) -> bool {
        node.checked_sub(self.imported).and_then(|number| self.returning.get(number)).is_some_and(|&returns| returns)
    }

    fn function(&self, kind: u32) -> Option<&FuncType> {
        self.types.get(usize::try_from(kind).ok()?)?.as_ref()
    }

    fn results(&self, kind: u32) -> &[ValType] {
        self.function(kind).map_or(&[], FuncType::results)
    }

    /// The node of the set of functions that a reference of this type may point to.
    fn set(&self, kind: u32) -> Option<usize> {
        Some(self.count() + (*self.sets.get(usize::try_from(kind).ok()?)?)?)
    }

    /// The node that a call reaches.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other instructions call nobody")]
    fn callee(&self, operator: &Operator<'_>) -> Option<usize> {
        match operator {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                usize::try_from(*function_index).ok().filter(|function| *function < self.count())
            }
            Operator::CallIndirect { type_index, .. }
            | Operator::ReturnCallIndirect { type_index, .. }
            | Operator::CallRef { type_index }
            | Operator::ReturnCallRef { type_index } => self.set(*type_index),
            _ => None,
        }
    }

    /// For each node, the nodes that it calls or contains, without functions that never return.
    fn edges(&self) -> Result<Vec<Vec<usize>>, BinaryReaderError> {
        let sets = self.sets.iter().flatten().max().map_or(0, |last| last + 1);
        let mut edges = vec![Vec::new(); self.count() + sets];
        for (number, body) in self.bodies.iter().enumerate() {
            let callees = &mut edges[self.imported + number];
            for operator in body.get_operators_reader()? {
                callees.extend(self.callee(&operator?).filter(|&callee| !self.is_endless(callee)));
            }
            callees.sort_unstable();
            callees.dedup();
        }
        for &function in &self.referred {
            let Some(function) = usize::try_from(function).ok().filter(|function| *function < self.count()) else {
                continue;
            };
            if let Some(set) = self.kinds.get(function).and_then(|&kind| self.set(kind))
                && !self.is_endless(function)
            {
                edges[set].push(function);
            }
        }
        Ok(edges)
    }
}

/// The strongly connected components of a graph, each after those that it leads to (Tarjan 1972). Without recursion,
/// since the guest determines the depth.
fn groups(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    /// Larger than the numbers of all nodes that have no group yet.
    const DONE: usize = usize::MAX - 1;
    let mut groups = Vec::new();
    // For each node, `least` is the least number that it is known to reach, at first its own number; `numbers` keeps
    // the own one.
    let (mut least, mut numbers) = (vec![UNSEEN; edges.len()], vec![UNSEEN; edges.len()]);
    let mut seen = 0;
    let mut open = Vec::new();
    let mut way: Vec<(usize, usize)> = Vec::new();
    for start in 0..edges.len() {
        if numbers[start] == UNSEEN {
            way.push((start, 0));
        }
        while let Some((node, next)) = way.last_mut() {
            let node = *node;
            if *next == 0 && numbers[node] == UNSEEN {
                (numbers[node], least[node]) = (seen, seen);
                seen += 1;
                open.push(node);
            }
            if let Some(&callee) = edges[node].get(*next) {
                if numbers[callee] == UNSEEN {
                    // The node is visited again once the callee's least number is known.
                    way.push((callee, 0));
                } else {
                    *next += 1;
                    if least[callee] != DONE {
                        least[node] = least[node].min(least[callee]);
                    }
                }
                continue;
            }
            way.pop();
            if least[node] == numbers[node] {
                let first = open.iter().rposition(|&other| other == node).unwrap_or_default();
                let group = open.split_off(first);
                for &member in &group {
                    least[member] = DONE;
                }
                groups.push(group);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_after_those_that_they_lead_to() {
        //  0 -> 1 <-> 2 -> 3, 4 -> 4 -> 0, 5
        let edges = [vec![1], vec![2], vec![1, 3], vec![], vec![4, 0], vec![]].map(|edges: Vec<usize>| edges);
        let found: Vec<Vec<usize>> = groups(&edges)
            .into_iter()
            .map(|mut group| {
                group.sort_unstable();
                group
            })
            .collect();
        assert_eq!(found, [vec![3], vec![1, 2], vec![0], vec![4], vec![5]]);
        let deep: Vec<Vec<usize>> =
            (1..=100_000).map(|next| if next < 100_000 { vec![next] } else { vec![] }).collect();
        assert_eq!(groups(&deep).len(), 100_000);
    }
}
