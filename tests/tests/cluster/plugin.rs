//! The plugin on a real cluster, through kubectl as people use it.
