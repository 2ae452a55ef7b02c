//! The command `list`, which prints or watches sessions.

mod printer;
mod watch;

use jiff::Timestamp;

use super::{
    nothing_found, once, scope,
    selection::{find, select, source},
};
use crate::{
    cli::list::ListArgs,
    console::Console,
    error::Error,
    filter::Filter,
    render::{list_format::ListFormat, sort::SortBy},
    server::{ListOptions, Scope, Server, Source},
    session::Session,
};
pub(super) use printer::Printer;
use watch::InitialList;

/// The parsed and validated options of `list`.
pub(super) struct Plan {
    pub(super) format: ListFormat,
    sort: Option<SortBy>,
}

impl Plan {
    pub(super) fn from_args(args: &ListArgs) -> Result<Self, Error> {
        let output = args.output.as_deref().unwrap_or_default();
        if args.show_labels && !matches!(output, "" | "wide") {
            return Err(Error::setup(format!(
                "--show-labels option cannot be used with {output} printer"
            )));
        }
        args.select.check()?;
        let format = ListFormat::parse(args.output.as_deref(), args.template.as_deref())?;
        let format = if args.allow_missing_template_keys { format } else { format.strict() };
        if !args.ids.is_empty() && args.select.is_any() {
            return Err(Error::setup("name cannot be provided when a selector is specified"));
        }
        if args.watches() && args.ids.len() > 1 {
            return Err(Error::setup(
                "you may only watch a single resource or type of resource at a time",
            ));
        }
        if args.output_watch_events && !args.watches() {
            return Err(Error::setup(
                "--output-watch-events option can only be used with --watch or --watch-only",
            ));
        }
        let path = args.sort_by.as_deref().filter(|path| !path.is_empty());
        let sort = path.map(SortBy::parse).transpose()?;
        if args.watches() && format == ListFormat::Table {
            return Err(Error::setup(
                "a bordered table can't be watched: leave out -o table or --watch",
            ));
        }
        Ok(Self { format, sort })
    }

    /// Returns kubectl's warning about a combination of options.
    fn warning(&self, args: &ListArgs) -> Option<&'static str> {
        self.sort.as_ref()?;
        if args.watch {
            Some("warning: --watch requested, --sort-by will be ignored for watch events received")
        } else if args.watch_only {
            Some("warning: --watch-only requested, --sort-by will be ignored")
        } else {
            None
        }
    }
}

pub(super) async fn run(
    server: &Server,
    args: &ListArgs,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let plan = Plan::from_args(args)?;
    if let Some(warning) = plan.warning(args) {
        console.say(warning);
    }
    let scope = scope(server, args.namespaces);
    let source = source(server, console).await?;
    if args.watches() && source == Source::Operator {
        return Err(Error::setup(
            "the sessions of mirrord's operator can't be watched: list them again",
        ));
    }
    if !args.ids.is_empty() {
        return list_named(server, args, &plan, &scope, now, console).await;
    }
    let (listing, filter) = select(server, scope, &args.select, args.all_states).await?;
    let listing = ListOptions { chunk: args.chunk_size, ..listing };
    let mut printer = Printer::new(plan.format.clone(), args, &listing.scope, console.width());
    if args.watches() {
        let initial = InitialList::new(args.watch_only, plan.sort.as_ref());
        return watch::run(server, &listing, &filter, initial, printer, console).await;
    }
    // A sorted list can't be printed before the last page has arrived.
    let streams = plan.format.streams() && plan.sort.is_none();
    let mut pages = server.list(&listing).await?;
    let mut all = Vec::new();
    let mut shown = 0;
    while let Some(page) = pages.next_page().await? {
        let page = filter.retain(page);
        shown += page.len();
        if streams {
            console.print(&printer.list(page, now)?)?;
            if console.is_closed() {
                return Ok(());
            }
        } else {
            all.extend(page);
        }
    }
    if shown == 0 && !plan.format.is_object() {
        if !args.ignore_not_found {
            console.say(&nothing_found(&listing.scope));
        }
    } else if !streams {
        if let Some(sort) = &plan.sort {
            sort.sort(&mut all)?;
        }
        console.print(&printer.list(all, now)?)?;
    }
    Ok(())
}

/// Lists the sessions of the IDs on the command line.
async fn list_named(
    server: &Server,
    args: &ListArgs,
    plan: &Plan,
    scope: &Scope,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for id in once(&args.ids) {
        match find(server, scope, id).await {
            Ok(items) => found.extend(items),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) if error.is_not_found() && args.ignore_not_found => {}
            Err(error) => missing.push(error),
        }
    }
    let mut printer = Printer::new(plan.format.clone(), args, scope, console.width());
    if let (Some(item), true) = (found.first(), args.watches()) {
        let session = Session::from_object(item);
        let listing = ListOptions::by_name(Scope::Namespace(session.namespace), &session.name);
        let filter = Filter { over: true, previews: true, ..Filter::default() };
        let initial = InitialList::new(args.watch_only, None);
        return watch::run(server, &listing, &filter, initial, printer, console).await;
    }
    if let Some(sort) = &plan.sort {
        sort.sort(&mut found)?;
    }
    let is_single = found.len() == 1 && args.ids.len() == 1;
    match found.pop_if(|_| is_single) {
        Some(item) => console.print(&printer.single(item, now)?)?,
        None if found.is_empty() => {}
        None => console.print(&printer.list(found, now)?)?,
    }
    for error in &missing {
        console.say(&error.to_string());
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::Reported) }
}
