//! `key qr`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::client::{ClientArgs, KeyArgs};
use crate::Error;
use crate::commands::Context;
use crate::exit::{self, Exit};
use crate::output;
use crate::private::{self, Existing, Out, PrivateError};
use crate::qr::{Code, Window};

const EXAMPLES: &str = "\
Examples:
  # In the terminal, for the app of WireGuard to scan
  kubectl culvert key qr telephone

  # As a picture
  kubectl culvert key qr telephone --gateway gateway-1 --out telephone.png";

/// Flags of `key qr`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::after(EXAMPLES, exit::Does::Shows))]
pub struct Args {
    /// Whose configuration.
    #[command(flatten)]
    pub key: KeyArgs,

    /// What it says.
    #[command(flatten)]
    pub client: ClientArgs,

    /// A file, or `-` for standard output [default: the terminal].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// The form of the code [default: as the file's name ends, else terminal].
    #[arg(long, value_enum)]
    pub form: Option<Form>,

    /// Replace a file that is there.
    #[arg(long, requires = "out")]
    pub overwrite: bool,
}

/// The form of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Half blocks, for a terminal.
    Terminal,
    /// A drawing.
    Svg,
    /// A picture.
    Png,
}

impl Form {
    fn of(asked: Option<Self>, out: &Out) -> Self {
        let by_name = match out {
            Out::Path(path) => path
                .extension()
                .and_then(|end| Self::from_str(end.to_str()?, true).ok()),
            Out::Standard => None,
        };
        asked.or(by_name).unwrap_or(Self::Terminal)
    }
}

/// Shows a configuration as a QR code.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Error> {
    let out = Out::of(args.out.as_deref(), context.screen, "a private key")?;
    let form = Form::of(args.form, &out);
    if form == Form::Png && out == Out::Standard && context.screen.terminal.out {
        return Err(PrivateError::NoText("a PNG").into());
    }
    let cluster = context.cluster().await?;
    let (pair, served, pool) = args.key.find(&cluster, context).await?;
    let all = args.client.write(&cluster, &pool, &pair, &served).await?;
    // There is one at least; those that serve come first.
    let Some(one) = all.first() else {
        return Ok(Exit::NotFound);
    };
    let is_shown = form == Form::Terminal && out == Out::Standard && context.screen.terminal.out;
    let window = if is_shown { Window::of_output() } else { None };
    let code = Code::of(&one.text, window)?;
    let bytes = match form {
        Form::Terminal => code.terminal(is_shown && context.screen.colour).into_bytes(),
        Form::Svg => code.svg().into_bytes(),
        Form::Png => code.png()?,
    };
    let bytes = zeroize::Zeroizing::new(bytes);
    match &out {
        Out::Standard => output::secret(&[&bytes])?,
        Out::Path(path) => write(path, &bytes, args.overwrite)?,
    }
    if all.len() > 1 {
        output::note(&format!(
            "for {}, one of {}; choose with --gateway",
            one.gateway.name,
            all.len()
        ));
    }
    if !one.gateway.ready {
        output::note(&format!("{} does not serve at present", one.gateway.name));
    }
    if !code.fits(window) {
        output::note("the window is too small for the code: enlarge it, or use --out FILE.png");
    }
    Ok(Exit::Done)
}

fn write(path: &Path, bytes: &[u8], overwrite: bool) -> Result<(), Error> {
    let existing = if overwrite {
        Existing::Replaced
    } else {
        Existing::Stays
    };
    private::write(path, &[bytes], existing)?;
    output::note(&format!("the code is in {}", path.display()));
    Ok(())
}
