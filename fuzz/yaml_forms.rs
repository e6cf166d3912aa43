//! Forms of YAML values, and values of such a form as a fuzzer's bytes say. Now and then something stands in a place where nothing of its
//! kind belongs. Decides nothing.

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};

/// What may stand at a place of an object.
pub(crate) enum Form {
    /// One of these, as YAML.
    One(&'static [&'static str]),
    /// One to three of them.
    List(&'static Form),
    /// Fields that are always there, and some that may be.
    Fields(&'static [Field], &'static [Field]),
    /// Just one of these fields.
    Choice(&'static [Field]),
    /// Just one of these forms.
    Any(&'static [&'static Form]),
    /// Such a form for some of these names.
    Named(&'static [&'static str], &'static Form),
}
pub(crate) type Field = (&'static str, &'static Form);

/// What has no place almost anywhere.
const ODD: &[&str] =
    &["null", "[]", "{}", "-1", "99999999999999999999", "\"\\0\"", "\"\\r\\n\"", "1.5", "true", "[[a]]", "~"];

impl Form {
    /// Writes something of this form.
    pub(crate) fn write(&self, input: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
        let choice = u8::arbitrary(input)?;
        if choice == u8::MAX {
            *text += input.choose(ODD)?;
            return Ok(());
        }
        let pick = |among: usize| usize::from(choice) % among;
        match self {
            Self::One(values) => *text += values[pick(values.len())],
            Self::List(item) => {
                text.push('[');
                for _ in 0..=pick(3) {
                    item.write(input, text)?;
                    *text += ", ";
                }
                text.push(']');
            }
            Self::Fields(always, sometimes) => {
                text.push('{');
                for field in *always {
                    write_field(*field, input, text)?;
                }
                for field in *sometimes {
                    if u8::arbitrary(input)? % 3 == 1 {
                        write_field(*field, input, text)?;
                    }
                }
                text.push('}');
            }
            Self::Choice(fields) => {
                text.push('{');
                write_field(fields[pick(fields.len())], input, text)?;
                text.push('}');
            }
            Self::Any(forms) => forms[pick(forms.len())].write(input, text)?,
            Self::Named(names, form) => {
                text.push('{');
                for name in &names[..1 + pick(names.len())] {
                    write_field((*name, *form), input, text)?;
                }
                text.push('}');
            }
        }
        Ok(())
    }
}

fn write_field((name, form): Field, input: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
    *text += name;
    *text += ": ";
    form.write(input, text)?;
    *text += ", ";
    Ok(())
}
