//! The chip: both applets on the firmware they are written for, in one thread, over the card's memory.

use std::{cell::RefCell, io, rc::Rc};

use littlefs2::{driver::Storage as _, fs::Filesystem};
use opcard::{AllowedAlgorithms, Options as OpenPgpOptions};
use piv_authenticator::Options as PivOptions;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use trussed::{
    ClientImplementation,
    backend::{Backend as _, BackendId},
    pipe::{ServiceEndpoint, TrussedChannel},
    platform::{Platform, Syscall, UserInterface},
    serde_extensions::{ExtensionDispatch, ExtensionId, ExtensionImpl},
    service::{Service, ServiceResources},
    store::{DynFilesystem, Store},
    types::{Context, CoreContext},
};
use trussed_auth::AuthExtension;
use trussed_auth_backend::{AuthBackend, AuthContext, FilesystemLayout};
use trussed_chunked::ChunkedExtension;
use trussed_core::{
    Error,
    api::{Reply, Request, reply, request},
    types::{Location, consent},
};
use trussed_hpke::HpkeExtension;
use trussed_rsa_alloc::SoftwareRsa;
use trussed_staging::{StagingBackend, StagingContext};
use trussed_wrap_key_to_file::WrapKeyToFileExtension;

use crate::memory::{Flash, Memory, random_bytes};

pub(crate) type Piv<'a> = piv_authenticator::Authenticator<Client<'a>>;
pub(crate) type OpenPgp<'a> = opcard::Card<Client<'a>>;
type Client<'a> = ClientImplementation<'a, InThread<'a>, Backends>;

/// The applets of a running chip.
pub(crate) struct Applets<'a> {
    pub(crate) piv: Piv<'a>,
    pub(crate) openpgp: OpenPgp<'a>,
}

/// Powers the chip up, runs `work` with its applets, and powers it down: whatever is not in [`Memory`] is gone then.
pub(crate) fn boot<R>(memory: &Memory, work: impl FnOnce(&mut Applets<'_>) -> R) -> io::Result<R> {
    let mut result = None;
    let mut work = Some(work);
    let failed = |what: &'static str| move |error| io::Error::other(format!("{what}: {error:?}"));
    with_filesystem(&memory.internal, |internal| {
        with_filesystem(&memory.external, |external| {
            with_filesystem(&Flash::erased(), |volatile| {
                let seed = random_bytes().map_err(|_| littlefs2::io::Error::IO)?;
                let board = Board {
                    random: ChaCha8Rng::from_seed(seed),
                    stores: Stores {
                        internal,
                        external,
                        volatile,
                    },
                    person: Person,
                };
                if let Some(work) = work.take() {
                    result = Some(run(board, memory.serial(), work));
                }
                Ok(())
            })
        })
    })
    .map_err(failed("the card's memory"))?;
    result.ok_or_else(|| io::Error::other("the card did not start"))
}

fn with_filesystem(
    flash: &Flash,
    work: impl FnOnce(&dyn DynFilesystem) -> littlefs2::io::Result<()>,
) -> littlefs2::io::Result<()> {
    let mut flash = flash.clone();
    if !Filesystem::is_mountable(&mut flash) {
        // A factory-new memory. One that is damaged must not look like that: the applets would start with the PINs they
        // are delivered with.
        let mut start = [0; 512];
        flash.read(0, &mut start)?;
        if start != [0xFF; 512] {
            return Err(littlefs2::io::Error::CORRUPTION);
        }
        Filesystem::format(&mut flash)?;
    }
    Filesystem::mount_and_then(&mut flash, |filesystem| work(filesystem))
}

fn run<R>(board: Board<'_>, serial: u32, work: impl FnOnce(&mut Applets<'_>) -> R) -> R {
    let channels = [const { TrussedChannel::new() }; 2];
    let (clients, endpoints): (Vec<_>, Vec<_>) = channels
        .iter()
        .zip(["piv", "opcard"])
        .map(|(channel, name)| {
            let (requester, responder) = channel.split().expect("split once");
            let context = CoreContext::new(name.try_into().expect("a short name"));
            (
                requester,
                ServiceEndpoint::new(responder, context, BACKENDS),
            )
        })
        .unzip();
    let core = Rc::new(RefCell::new(Core {
        service: Service::with_dispatch(board, Backends::default()),
        endpoints,
    }));
    let mut clients = clients
        .into_iter()
        .map(|requester| Client::new(requester, InThread(core.clone()), None));
    let (Some(piv), Some(openpgp)) = (clients.next(), clients.next()) else {
        unreachable!("two channels were made")
    };
    let mut openpgp_options = OpenPgpOptions::default();
    openpgp_options.serial = serial.to_be_bytes();
    // What this firmware has; the applet knows more curves.
    let algorithms = AllowedAlgorithms::P_256
        | AllowedAlgorithms::P_384
        | AllowedAlgorithms::P_521
        | AllowedAlgorithms::RSA_2048
        | AllowedAlgorithms::RSA_3072
        | AllowedAlgorithms::RSA_4096
        | AllowedAlgorithms::X_25519
        | AllowedAlgorithms::ED_25519;
    openpgp_options.allowed_generation = algorithms;
    openpgp_options.allowed_imports = algorithms;
    openpgp_options.button_available = false;
    work(&mut Applets {
        piv: Piv::new(piv, PivOptions::new().label(b"Virtual PIV").url(b"")),
        openpgp: OpenPgp::new(openpgp, openpgp_options),
    })
}

pub(crate) struct Core<'a> {
    service: Service<Board<'a>, Backends>,
    endpoints: Vec<ServiceEndpoint<'a, Backend, BackendContext>>,
}

/// Serves a request of an applet at once, in the applet's own thread.
pub(crate) struct InThread<'a>(Rc<RefCell<Core<'a>>>);

impl Syscall for InThread<'_> {
    fn syscall(&mut self) {
        let Core { service, endpoints } = &mut *self.0.borrow_mut();
        service.process(endpoints);
    }
}

pub(crate) struct Board<'a> {
    random: ChaCha8Rng,
    stores: Stores<'a>,
    person: Person,
}

impl<'a> Platform for Board<'a> {
    type R = ChaCha8Rng;
    type S = Stores<'a>;
    type UI = Person;

    fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.random
    }

    fn store(&self) -> Stores<'a> {
        self.stores
    }

    fn user_interface(&mut self) -> &mut Person {
        &mut self.person
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Stores<'a> {
    internal: &'a dyn DynFilesystem,
    external: &'a dyn DynFilesystem,
    volatile: &'a dyn DynFilesystem,
}

impl Store for Stores<'_> {
    fn ifs(&self) -> &dyn DynFilesystem {
        self.internal
    }

    fn efs(&self) -> &dyn DynFilesystem {
        self.external
    }

    fn vfs(&self) -> &dyn DynFilesystem {
        self.volatile
    }
}

/// Somebody who touches the card whenever it asks.
pub(crate) struct Person;

impl UserInterface for Person {
    fn check_user_presence(&mut self) -> consent::Level {
        consent::Level::Normal
    }
}

const BACKENDS: &[BackendId<Backend>] = &[
    BackendId::Custom(Backend::Auth),
    BackendId::Custom(Backend::Staging),
    BackendId::Custom(Backend::Rsa),
    BackendId::Core,
];

pub(crate) enum Backend {
    Auth,
    Staging,
    Rsa,
}

#[derive(Default)]
pub(crate) struct BackendContext {
    auth: AuthContext,
    staging: StagingContext,
}

/// What the firmware's core lacks and the applets need.
pub(crate) struct Backends {
    auth: AuthBackend,
    staging: StagingBackend,
    rsa: SoftwareRsa,
}

impl Default for Backends {
    fn default() -> Self {
        Self {
            auth: AuthBackend::new(Location::Internal, FilesystemLayout::V0),
            staging: StagingBackend::new(),
            rsa: SoftwareRsa,
        }
    }
}

/// The numbers by which the applets name the extensions.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Extension {
    Auth,
    Chunked,
    Hpke,
    WrapKeyToFile,
}

impl From<Extension> for u8 {
    fn from(extension: Extension) -> Self {
        extension as Self
    }
}

impl TryFrom<u8> for Extension {
    type Error = Error;

    fn try_from(id: u8) -> Result<Self, Error> {
        [Self::Auth, Self::Chunked, Self::Hpke, Self::WrapKeyToFile]
            .into_iter()
            .find(|&extension| u8::from(extension) == id)
            .ok_or(Error::FunctionNotSupported)
    }
}

macro_rules! extension_ids {
    ($($extension:ty => $id:ident),+) => {$(
        impl ExtensionId<$extension> for Backends {
            type Id = Extension;
            const ID: Extension = Extension::$id;
        }
    )+};
}

extension_ids!(
    AuthExtension => Auth,
    ChunkedExtension => Chunked,
    HpkeExtension => Hpke,
    WrapKeyToFileExtension => WrapKeyToFile
);

impl ExtensionDispatch for Backends {
    type BackendId = Backend;
    type Context = BackendContext;
    type ExtensionId = Extension;

    fn core_request<P: Platform>(
        &mut self,
        backend: &Backend,
        context: &mut Context<BackendContext>,
        request: &Request,
        resources: &mut ServiceResources<P>,
    ) -> Result<Reply, Error> {
        let core = &mut context.core;
        match backend {
            Backend::Auth => {
                self.auth
                    .request(core, &mut context.backends.auth, request, resources)
            }
            Backend::Staging => {
                self.staging
                    .request(core, &mut context.backends.staging, request, resources)
            }
            Backend::Rsa => self
                .rsa
                .request(core, &mut Default::default(), request, resources),
        }
    }

    fn extension_request<P: Platform>(
        &mut self,
        backend: &Backend,
        extension: &Extension,
        context: &mut Context<BackendContext>,
        request: &request::SerdeExtension,
        resources: &mut ServiceResources<P>,
    ) -> Result<reply::SerdeExtension, Error> {
        let core = &mut context.core;
        let staging = &mut context.backends.staging;
        match (backend, extension) {
            (Backend::Auth, Extension::Auth) => {
                ExtensionImpl::<AuthExtension>::extension_request_serialized(
                    &mut self.auth,
                    core,
                    &mut context.backends.auth,
                    request,
                    resources,
                )
            }
            (Backend::Staging, Extension::Chunked) => {
                ExtensionImpl::<ChunkedExtension>::extension_request_serialized(
                    &mut self.staging,
                    core,
                    staging,
                    request,
                    resources,
                )
            }
            (Backend::Staging, Extension::Hpke) => {
                ExtensionImpl::<HpkeExtension>::extension_request_serialized(
                    &mut self.staging,
                    core,
                    staging,
                    request,
                    resources,
                )
            }
            (Backend::Staging, Extension::WrapKeyToFile) => {
                ExtensionImpl::<WrapKeyToFileExtension>::extension_request_serialized(
                    &mut self.staging,
                    core,
                    staging,
                    request,
                    resources,
                )
            }
            _ => Err(Error::RequestNotAvailable),
        }
    }
}
