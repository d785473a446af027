//! The real PID 1 confines a program that tries what is forbidden. Needs root, as PID 1 has it.

#[cfg(test)]
mod machine;
#[cfg(test)]
mod rules;
