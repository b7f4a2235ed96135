//! The WebSocket protocol: a relay's look at what it receives, an endpoint's input and output, and the memory of both.

mod batch;
mod block;
mod input;
mod mask_keys;
mod relay_receiver;
mod seal;
mod wire;

pub use batch::MessageBatch;
pub use block::{BLOCK_SIZE, POOL_BLOCKS};
pub use input::WebSocketInput;
pub use relay_receiver::WebSocketReceiver;
pub use seal::seal_websocket_frames;
pub use wire::{Payloads, WireFrames, frame_messages};
