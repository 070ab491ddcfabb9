//! A diagnosis as a page for a terminal.

use std::{collections::HashSet, fmt};

use sd_core::shown;

use crate::{Diagnosis, ModuleDiagnosis};

impl fmt::Display for Diagnosis {
    /// A page for a terminal: facts of all modules in a line each, then the modules that change most, then all faults.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |(what, n): (String, usize)| format!("{what} ({n})");
        let kinds = self.kinds.iter().map(|(kind, n)| counted((kind.to_string(), *n)));
        writeln!(f, "{}", shown(&self.file))?;
        writeln!(f, "  kind         {}", kinds.collect::<Vec<_>>().join(", "))?;
        if self.dora > 0 {
            writeln!(f, "  DoRA         {} modules have magnitudes", self.dora)?;
        }
        if !self.ranks.is_empty() {
            let ranks = self.ranks.iter().map(|(rank, n)| counted((rank.to_string(), *n)));
            writeln!(f, "  rank         {}", ranks.collect::<Vec<_>>().join(", "))?;
        }
        match self.alpha {
            Some([low, high]) if low == high => writeln!(f, "  alpha        {low}")?,
            Some([low, high]) => writeln!(f, "  alpha        {low} to {high}")?,
            None => {}
        }
        writeln!(f, "  made for     {}", self.family)?;
        match &self.compared_with {
            Some(model) => writeln!(f, "  compared to  {}", shown(model))?,
            None => writeln!(f, "  compared to  nothing: name a model")?,
        }
        for embedding in &self.embeddings {
            let name = shown(&embedding.name);
            match &embedding.fault {
                None => writeln!(f, "  embedding    {name}, {} vectors", embedding.vectors)?,
                Some(reason) => writeln!(f, "  embedding    {name} can't be used: {reason}")?,
            }
        }
        self.notes(f)?;
        self.largest(f)?;
        if self.compared_with.is_some() {
            let placed = self
                .modules
                .iter()
                .filter(|module| module.layer.is_some())
                .count();
            writeln!(
                f,
                "  matched      {placed} of {} modules",
                self.modules.len() + self.faults_alone()
            )?;
        }
        for (module, reason) in &self.faults {
            writeln!(f, "  fault        {}: {reason}", shown(module))?;
        }
        for unmatched in &self.unmatched {
            writeln!(f, "  unmatched    {unmatched}")?;
        }
        for note in &self.notes {
            writeln!(f, "  note         {note}")?;
        }
        Ok(())
    }
}

impl Diagnosis {
    /// Modules with a fault that are not among those that were read.
    fn faults_alone(&self) -> usize {
        let read: HashSet<&str> = self.modules.iter().map(|module| module.name.as_str()).collect();
        self.faults
            .keys()
            .filter(|name| !read.contains(name.as_str()))
            .count()
    }

    /// The trainers' notes that people ask for.
    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NOTES: [&str; 9] = [
            "ss_output_name",
            "ss_sd_model_name",
            "ss_base_model_version",
            "ss_network_module",
            "ss_network_args",
            "ss_resolution",
            "ss_num_train_images",
            "ss_steps",
            "modelspec.title",
        ];
        for note in NOTES {
            if let Some(value) = self.metadata.get(note) {
                writeln!(f, "  {note}  {}", shown(value))?;
            }
        }
        Ok(())
    }

    fn largest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LISTED: usize = 5;
        let size = |module: &ModuleDiagnosis| module.relative_change.or(module.change);
        let mut modules: Vec<&ModuleDiagnosis> = self
            .modules
            .iter()
            .filter(|module| size(module).is_some())
            .collect();
        modules.sort_by(|a, b| size(b).unwrap_or(0.0).total_cmp(&size(a).unwrap_or(0.0)));
        for module in modules.iter().take(LISTED) {
            let name = shown(module.layer.as_deref().unwrap_or(&module.name));
            let norm = module.change.unwrap_or(0.0);
            match module.relative_change {
                Some(relative) => {
                    writeln!(f, "  change       {norm:.3}, {:.1}% of {name}", 100.0 * relative)?
                }
                None => writeln!(f, "  change       {norm:.3} of {name}")?,
            }
        }
        Ok(())
    }
}
